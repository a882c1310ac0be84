"use strict";
// The explorer. Titles and names are data of others: they are written as text, never as HTML.

const $ = (id) => document.getElementById(id);
const embedded = $("data") ? JSON.parse($("data").textContent) : null;
const COLOURS = 10;
let release = null; // GET /v1/explore/map
let answer = null; // POST /v1/explore, for `wish`
let known = new Map(); // interests by number, also those that are muted now
let wish = newWish({});
let marks = []; // the user's items on the map
let beside = ""; // name of the release that is shown beside it; empty: none
let other = null; // its answer, or a text: why there is none
let asked = 0; // number of the last request: an older answer is dropped

function newWish(who) {
  return { who, added: [], shares: null, calibration: null, muted: new Set(), boosted: new Set(), mutedTopics: new Set(), boostedTopics: new Set() };
}

// Elements

function el(name, properties = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key === "colour") node.style.color = value;
    else if (key in node && key !== "list") node[key] = value;
    else node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

function svg(name, attributes) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}

const label = (item) => item.title ?? `item ${item.item_id}`;
const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.01 ? 1 : 0)} %`;
const date = (seconds) => (seconds === null ? "" : new Date(1000 * seconds).toISOString().slice(0, 10));

function colour(number) {
  const interest = known.get(number);
  if (!interest || interest.kind === "unconditioned") return "var(--whole)";
  const before = [...known.values()].filter((one) => one.kind !== "unconditioned" && one.number < number);
  return `var(--c${before.length % COLOURS})`;
}

// One that cannot be loaded leaves the title alone.
function picture(item) {
  const src = answer.images[item.item_id];
  return src ? el("img", { src, alt: "", loading: "lazy", referrerPolicy: "no-referrer", onerror: (event) => event.target.remove() }) : null;
}

const swatch = (number, text = "", paint = colour) => el("span", { className: "swatch", colour: paint(number), "aria-hidden": "true" }, el("b", {}, text));

// The service

async function ask(path, body) {
  const key = sessionStorage.getItem("multitudes-key");
  const headers = { ...(key && { authorization: `Bearer ${key}` }), ...(body && { "content-type": "application/json" }) };
  let response;
  try {
    response = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body) });
  } catch {
    throw new Error("the service does not answer; is it running?");
  }
  const record = await response.json();
  if (response.ok) return record;
  if (response.status === 401 || response.status === 403) $("key-form").hidden = false;
  throw new Error(key || response.status !== 401 ? record.error.message : "enter an API key, or open the URL that multitudes explore printed");
}

async function attempt(action) {
  $("error").textContent = "";
  document.body.setAttribute("aria-busy", "true");
  try {
    await action();
  } catch (error) {
    $("error").textContent = error.message;
  } finally {
    document.body.removeAttribute("aria-busy");
  }
}

function request() {
  const { who, added, shares, calibration } = wish;
  return {
    ...who, added, n: 20, calibration,
    interest_shares: shares ? [...shares].map(([number, share]) => ({ number, share })) : [],
    mute_interests: [...wish.muted], boost_interests: [...wish.boosted],
    mute_topics: [...wish.mutedTopics], boost_topics: [...wish.boostedTopics],
  };
}

// The same user for the release beside it: the numbers of interests mean others there.
function requestBeside() {
  const { added, n, calibration, mute_topics, boost_topics } = request();
  return { ...wish.who, added, n, calibration, mute_topics, boost_topics, release: beside };
}

async function refresh() {
  const number = ++asked;
  const latest = await ask("/v1/explore", request());
  if (number !== asked) return;
  other = null;
  show(latest);
  if (beside) askBeside(number); // which may have to be opened: the page does not wait for it
}

async function askBeside(number) {
  const second = await ask("/v1/explore", requestBeside()).catch((error) => error.message);
  if (number !== asked) return;
  other = second;
  showBeside();
}

function showUser(id) {
  return attempt(async () => {
    const former = wish;
    wish = newWish({ user_id: id });
    try {
      await refresh();
    } catch (error) {
      wish = former;
      throw error;
    }
    $("changed").hidden = $("item").hidden = true;
    $("user").value = id;
    showAddress(`#user=${encodeURIComponent(JSON.stringify(id))}`);
  });
}

async function drawUser() {
  const { user_ids: [id] } = await ask("/v1/explore/users");
  if (id === undefined) throw new Error("no user could be drawn; try again, or build a history");
  await showUser(id);
}

function addItem(item) {
  return attempt(async () => {
    const before = answer;
    if (!answer) wish = newWish({ history: [] });
    wish.added.push(item.item_id);
    wish.shares = null; // the numbers of the interests may mean others now
    wish.muted.clear();
    wish.boosted.clear();
    try {
      await refresh();
    } catch (error) {
      wish.added.pop();
      throw error;
    }
    if (before) showChanges(`With ${label(item)} in the history`, before, answer);
  });
}

function change(edit, title) {
  return attempt(async () => {
    const before = answer;
    edit();
    await refresh();
    showChanges(title, before, answer);
  });
}

// What is shown

function show(latest) {
  const kept = [...wish.muted].map((number) => known.get(number)).filter(Boolean);
  answer = latest;
  known = new Map([...answer.interests, ...kept].map((one) => [one.number, one]).sort((a, b) => a[0] - b[0]));
  for (const one of kept) if (!answer.interests.some((other) => other.number === one.number)) known.set(one.number, { ...one, share: 0 });
  $("shown").hidden = false;
  const who = answer.user_id === null ? "Anonymous user" : `User ${answer.user_id}`;
  const count = (number, what) => `${number} ${what}${number === 1 ? "" : "s"}`;
  const counts = `${count(answer.history.length, "event")}, ${count([...known.values()].filter((one) => one.kind === "implicit").length, "interest")}`;
  const follows = answer.followed_topics.length ? `, follows ${answer.followed_topics.join(", ")}` : "";
  $("status").textContent = `${who}: ${counts}${follows}${answer.reason ? `. ${answer.reason}` : ""}`;
  showCalibration();
  showInterests();
  showTimeline();
  showCandidates();
  showBeside();
  collectMarks();
  drawMap();
}

function showCalibration() {
  const { calibration } = wish;
  $("calibration").value = Math.round(100 * (calibration ?? release.calibration));
  $("calibrated").textContent = calibration === null ? "as published" : percent(calibration);
}

function showInterests() {
  const focused = document.activeElement?.dataset?.control;
  $("interests").replaceChildren(...[...known.values()].map((interest) => {
    const { number, name, share } = interest;
    const muted = wish.muted.has(number), boosted = wish.boosted.has(number);
    const output = el("output", {}, percent(share));
    const range = el("input", {
      type: "range", min: 0, max: 100, step: 1, value: Math.round(100 * share), disabled: muted || embedded !== null,
      "aria-label": `Share of ${name}`, "data-control": `share-${number}`,
      oninput: () => { output.textContent = `${range.value} %`; },
      onchange: () => setShare(number, range.value / 100),
    });
    const toggle = (text, set, other, pressed) => el("button", {
      type: "button", className: "small live", "aria-pressed": String(pressed), "aria-label": `${text} ${name}`,
      "data-control": `${text}-${number}`,
      onclick: () => change(() => { pressed ? set.delete(number) : set.add(number); other.delete(number); },
        pressed ? `${name} as before` : `${text} ${name}`),
    }, text);
    return el("li", { className: muted ? "muted" : "" },
      el("span", { className: "name" }, swatch(number, String(number)), name, interest.kind === "explicit" ? el("small", {}, " (topic)") : null),
      el("span", { className: "buttons" }, toggle("Mute", wish.muted, wish.boosted, muted), toggle("Boost", wish.boosted, wish.muted, boosted)),
      el("span", { className: "share" }, range, output),
      interest.kind === "implicit" ? el("small", {}, origin(interest)) : null);
  }));
  document.querySelector(`[data-control="${focused}"]`)?.focus();
  const chips = (topics, text) => [...topics].map((topic) => el("li", {}, el("button", {
    type: "button", className: "small", "aria-label": `${text} ${topic}: undo`,
    onclick: () => change(() => topics.delete(topic), `${topic} as before`),
  }, `${text} ${topic} ×`)));
  $("topic-chips").replaceChildren(...chips(wish.mutedTopics, "muted"), ...chips(wish.boostedTopics, "boosted"));
}

const origin = ({ items, n_items: count }) => (count ? `${count} event${count === 1 ? "" : "s"}: ${items.join(" · ")}` : "no event");

function setShare(number, share) {
  const others = [...known.values()].filter((one) => one.number !== number && !wish.muted.has(one.number));
  const total = others.reduce((sum, one) => sum + one.share, 0);
  const rest = (one) => (1 - share) * (total > 0 ? one.share / total : 1 / others.length);
  const shares = new Map([[number, others.length ? share : 1], ...others.map((one) => [one.number, rest(one)])]);
  return change(() => { wish.shares = shares; wish.boosted.clear(); }, `${known.get(number).name} at ${percent(share)}`);
}

function showTimeline() {
  $("timeline").replaceChildren(...timeline(answer, known, colour, $("moment")));
}

// The history of an answer, a lane for each interest; the focus moves by arrow keys.
function timeline(shown, interests, paint, moment) {
  const events = [...shown.history].reverse(), width = 100 / Math.max(events.length, 1), buttons = [];
  const lane = (number, name) => {
    const track = el("div", { className: "track" });
    events.forEach((event, place) => {
      if (event.interest !== number) return;
      const words = [label(event.item), date(event.time_s), event.added ? "added" : ""].filter(Boolean).join(", ");
      const tell = () => { moment.textContent = words; point(event.item); };
      const button = el("button", {
        type: "button", tabIndex: -1, title: words, "aria-label": `${words}: ${name}`, className: event.added ? "added" : "",
        colour: number === null ? "var(--speck)" : paint(number), onclick: () => openItem(event.item), onfocus: tell, onmouseenter: tell,
      });
      button.style.left = `${place * width}%`;
      button.style.width = `max(${width}%, 4px)`;
      buttons[place] = button;
      track.append(button);
    });
    return el("div", { className: "lane" }, el("span", { title: name }, number === null ? null : swatch(number, String(number), paint), name), track);
  };
  const numbers = [...new Set(events.map((event) => event.interest))].sort((a, b) => (a ?? 99) - (b ?? 99));
  const lanes = numbers.map((number) => lane(number, number === null ? "no interest" : interests.get(number)?.name ?? "muted"));
  const ends = events.length ? [date(events[0].time_s) || "oldest", date(events.at(-1).time_s) || "newest"] : [];
  if (buttons.length) buttons.at(-1).tabIndex = 0;
  const step = (event) => {
    const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const place = buttons.indexOf(document.activeElement);
    if (!by || place < 0) return;
    event.preventDefault();
    const next = buttons[Math.min(Math.max(place + by, 0), buttons.length - 1)];
    for (const button of buttons) button.tabIndex = button === next ? 0 : -1;
    next.focus();
  };
  return [el("div", { onkeydown: step }, ...lanes), el("div", { className: "axis" }, ...ends.map((text) => el("span", {}, text)))];
}

function showCandidates() {
  const ids = (list) => new Set((list ?? []).map((one) => one.item_id));
  const all = ids(answer.candidates), one = ids(answer.one_vector);
  const row = (candidate, others, only = others && !others.has(candidate.item_id)) => el("li", { className: only ? "only" : "", onmouseenter: () => point(candidate) },
    el("span", {}, String(candidate.rank)),
    el("button", { type: "button", className: "plain", onclick: () => openItem(candidate), onfocus: () => point(candidate) }, picture(candidate), label(candidate)),
    el("button", { type: "button", className: "small live", "aria-label": `Add ${label(candidate)} to the history`, onclick: () => addItem(candidate) }, "Add"),
    el("small", {}, only ? el("span", { className: "tag" }, "only here") : null, ...reason(candidate)));
  $("candidates").replaceChildren(...answer.candidates.map((candidate) => row(candidate, answer.one_vector && one)));
  $("one").replaceChildren(...(answer.one_vector ?? []).map((candidate) => row({ ...candidate, because: [], source: null }, all)));
  $("rows").replaceChildren(...answer.rows.map(({ title, interest, candidates }) => el("div", {},
    el("h3", {}, swatch(interest), title),
    el("ol", { "aria-label": title }, ...candidates.map((candidate) => row({ ...candidate, because: [], source: null }))))));
  $("served").textContent = served(answer);
  const shared = [...all].filter((id) => one.has(id)).length;
  $("overlap").textContent = answer.one_vector === null
    ? "This method has no vector of the whole history to compare with."
    : shared === all.size
      ? "The vector of the whole history alone gives the same items: it has nearly all of the list. Move the calibration, or give interests a larger share."
      : `${shared} of ${all.size} candidates are also what the vector of the whole history alone gives.`;
}

// An interest is served if a candidate is for it, a followed topic if a candidate is among its own best.
function served({ interests, candidates }) {
  const named = candidates.map((one) => one.interest);
  const kinds = [["implicit", "interests", named], ["explicit", "topics", [...named, ...candidates.flatMap((one) => one.found_by)]]];
  const parts = kinds.map(([kind, name, served]) => {
    const own = interests.filter((one) => one.kind === kind);
    return own.length ? `${own.filter((one) => served.includes(one.number)).length} of ${own.length} ${name}` : "";
  }).filter(Boolean);
  return parts.length ? `Serves ${parts.join(" and ")}.` : "";
}

function reason(candidate, paint = colour) {
  if (candidate.source === null) return [];
  const text = because(candidate) || candidate.interest_name || candidate.source;
  return candidate.interest === null ? [text] : [swatch(candidate.interest, "", paint), text];
}

const because = (candidate) => (candidate?.because.length ? `because of ${candidate.because.map(label).join(" and ")}` : "");

const ranks = (shown) => new Map(shown.candidates.map((one) => [one.item_id, one.rank]));

function differences(before, after) {
  const old = ranks(before), now = ranks(after);
  return {
    old,
    came: after.candidates.filter((one) => !old.has(one.item_id)),
    left: before.candidates.filter((one) => !now.has(one.item_id)),
    moved: after.candidates.filter((one) => old.has(one.item_id) && Math.abs(old.get(one.item_id) - one.rank) > 2),
  };
}

function showChanges(title, before, after) {
  const { old, came, left, moved } = differences(before, after);
  const list = (name, rows) => el("div", {}, el("h3", {}, `${name} (${rows.length})`), el("ul", {}, ...rows.map((text) => el("li", {}, text))));
  $("summary").textContent = `${title}: ${came.length} candidates came, ${left.length} left, ${moved.length} moved by more than two places.`;
  say($("summary").textContent);
  $("changes").replaceChildren(
    el("div", { className: "lists" },
      list("Came", came.map((one) => `${one.rank}. ${label(one)}`)),
      list("Left", left.map((one) => label(one)))),
    moved.length ? list("Moved", moved.map((one) => `${label(one)}: ${old.get(one.item_id)} → ${one.rank}`)) : "");
  $("changed").hidden = false;
}

// Two releases

function showBeside() {
  $("beside").hidden = !beside;
  if (!beside) return;
  $("beside-title").textContent = `Release ${answer.release} and release ${beside}`;
  if (other === null || typeof other === "string") {
    $("verdict").textContent = other ?? `Release ${beside} is asked.`;
    $("sides").replaceChildren();
    return;
  }
  const { came, left, moved } = differences(answer, other), there = answer.candidates.length - left.length;
  const count = (list) => `${list} ${list === 1 ? "is" : "are"}`;
  $("verdict").textContent = `${there} of ${answer.candidates.length} candidates of ${answer.release} are in ${beside} too, ${moved.length} of them moved by more than two places; ${count(left.length)} lost, ${count(came.length)} new.`;
  const own = new Map(answer.interests.map((one) => [one.number, one])), theirs = new Map(other.interests.map((one) => [one.number, one]));
  const pairs = sharedEvents(), match = matchInterests(pairs, own, theirs);
  const paint = (number) => match.get(number) ?? "var(--whole)";
  const now = ranks(other), old = ranks(answer);
  const lost = (one) => (now.has(one.item_id) ? "" : "lost");
  const moves = (one) => {
    if (!old.has(one.item_id)) return "new";
    const up = old.get(one.item_id) - one.rank;
    return up ? `${up > 0 ? "up" : "down"} ${Math.abs(up)}` : "";
  };
  const from = (one) => [...own.keys()].map((number) => [number, pairs.get(`${number} ${one.number}`) ?? 0]).filter((pair) => pair[1]).sort((a, b) => b[1] - a[1])
    .map(([number, count]) => `${count} of ${one.n_items} ${one.n_items === 1 ? "event is" : "events are"} in ${number} · ${own.get(number).name} of ${answer.release}`)[0];
  $("sides").replaceChildren(side(answer.release, answer, own, colour, lost, () => null), side(beside, other, theirs, paint, moves, from));
}

function side(name, shown, interests, paint, tag, from) {
  const moment = el("p", { className: "moment", "aria-live": "polite" });
  const list = (title, rows) => [el("h4", {}, title), el("ol", { "aria-label": `${title} of release ${name}` }, ...rows)];
  const interest = (one) => el("li", {},
    swatch(one.number, String(one.number), paint), el("span", {}, one.name), el("span", {}, percent(one.share)),
    one.kind === "implicit" ? el("small", {}, from(one) ?? origin(one)) : null);
  const candidate = (one) => el("li", { onmouseenter: () => point(one) },
    el("span", {}, String(one.rank)),
    el("button", { type: "button", className: "plain", onclick: () => openItem(one), onfocus: () => point(one) }, label(one)),
    tag(one) ? el("span", { className: `tag ${tag(one)}` }, tag(one)) : null,
    el("small", {}, ...reason(one, paint)));
  return el("div", { className: "side", role: "group", "aria-label": `Release ${name}` },
    el("h3", {}, `Release ${name}`), shown.reason ? el("p", { className: "note" }, shown.reason) : null,
    ...list("Interests", shown.interests.map(interest)),
    el("h4", {}, "History by interest"), el("div", { role: "group", "aria-label": `History in release ${name}, oldest to newest. Arrow keys go through it, Enter opens an item.` }, ...timeline(shown, interests, paint, moment)), moment,
    ...list("Candidates", shown.candidates.map(candidate)), el("p", { className: "note" }, served(shown)));
}

// How many events each interest of the release shares with each of the one beside it, by "number number".
function sharedEvents() {
  const first = new Map(answer.history.map((event) => [event.item.item_id, event.interest])), pairs = new Map();
  for (const { item, interest } of other.history) {
    const own = first.get(item.item_id) ?? null;
    if (own !== null && interest !== null) pairs.set(`${own} ${interest}`, (pairs.get(`${own} ${interest}`) ?? 0) + 1);
  }
  return pairs;
}

// The colour of each interest of the release beside it: that of the same topic, of the one with most of its events, or
// a free one.
function matchInterests(pairs, own, theirs) {
  const match = new Map(), taken = new Set();
  const give = (number, mine) => {
    if (match.has(number) || taken.has(mine)) return;
    match.set(number, colour(mine));
    taken.add(mine);
  };
  const topics = new Map([...own.values()].filter((one) => one.kind === "explicit").map((one) => [one.name, one.number]));
  for (const one of theirs.values()) if (one.kind === "explicit" && topics.has(one.name)) give(one.number, topics.get(one.name));
  for (const [pair] of [...pairs].sort((a, b) => b[1] - a[1])) give(...pair.split(" ").map(Number).reverse());
  const all = [...Array(COLOURS).keys()].map((place) => `var(--c${place})`), used = new Set([...own.keys()].map(colour));
  const free = all.filter((one) => !used.has(one));
  for (const one of theirs.values()) {
    if (one.kind !== "unconditioned" && !match.has(one.number)) match.set(one.number, free.shift() ?? all[one.number % COLOURS]);
  }
  return match;
}

// For screen readers: a part of the page that appears with its text is not read.
function say(text) {
  $("spoken").textContent = text;
}

function openItem(item) {
  return attempt(async () => {
    const shown = marks.find((mark) => mark.item.item_id === item.item_id);
    const found = answer?.candidates.find((one) => one.item_id === item.item_id);
    const text = [because(found), shown ? "" : "not among this user's items"].filter(Boolean).join(", ");
    $("item-title").textContent = label(item);
    const parts = [text ? el("p", { className: "note" }, text) : ""];
    if (!embedded) {
      const path = `/v1/items/${encodeURIComponent(JSON.stringify(item.item_id))}/similar?n=10`;
      const near = await ask(path);
      parts.push(el("button", { type: "button", className: "small", onclick: () => addItem(item) }, "Add to the history"), el("h3", {}, "Neighbours"),
        el("ol", {}, ...near.candidates.map((one) => el("li", {},
          el("button", { type: "button", className: "plain", onclick: () => openItem(one) }, `${one.rank}. ${label(one)}`),
          el("button", { type: "button", className: "small", "aria-label": `Add ${label(one)} to the history`, onclick: () => addItem(one) }, "Add")))));
    }
    $("neighbours").replaceChildren(...parts);
    $("item").hidden = false;
    $("item").focus({ preventScroll: true });
    $("item").scrollIntoView({ block: "nearest" });
    point(item);
  });
}

// The map

let view = { x: 0, y: 0, size: 1 }; // what of [0, 1]² is shown

function collectMarks() {
  const brought = new Map(answer.candidates.map((one) => [one.item_id, one.interest]));
  const past = [...answer.history].reverse().map((event) => ({ item: event.item, number: event.interest, kind: "history" }));
  const next = answer.map.map((item) => ({ item, number: brought.get(item.item_id), kind: "candidate" }));
  marks = [...past, ...next].filter((mark) => mark.item.x !== null);
  setView();
}

function setView() {
  view = { x: -0.03, y: -0.03, size: 1.06 };
  if ($("zoom").getAttribute("aria-pressed") !== "true" || !marks.length) return;
  const side = (pick) => [Math.min(...marks.map(pick)), Math.max(...marks.map(pick))];
  const [left, right] = side((mark) => mark.item.x), [top, bottom] = side((mark) => mark.item.y);
  const size = Math.max(right - left, bottom - top, 0.05) * 1.15;
  view = { x: (left + right - size) / 2, y: (top + bottom - size) / 2, size };
}

function place(item) {
  const { clientWidth: width, clientHeight: height } = $("map");
  return [((item.x - view.x) / view.size) * width, ((item.y - view.y) / view.size) * height];
}

function drawMap() {
  const canvas = $("points"), { clientWidth: width, clientHeight: height } = $("map"), scale = window.devicePixelRatio || 1;
  canvas.width = width * scale;
  canvas.height = height * scale;
  const paint = canvas.getContext("2d");
  paint.scale(scale, scale);
  paint.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--speck");
  for (const item of release.map) {
    if (item.x === null) continue;
    const [x, y] = place(item);
    paint.beginPath();
    paint.arc(x, y, 1.6, 0, 7);
    paint.fill();
  }
  paint.font = "600 12px system-ui, sans-serif";
  paint.textAlign = "center";
  paint.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--whole");
  for (const region of release.regions) {
    const name = region.topic.length > 22 ? `${region.topic.slice(0, 21)}…` : region.topic, [x, y] = place(region), half = paint.measureText(name).width / 2 + 3;
    if (x > 0 && x < width) paint.fillText(name, Math.min(Math.max(x, half), width - half), y); // whole, at an edge too
  }
  const halos = [], dots = [], numbers = new Map();
  for (const mark of marks) {
    const [x, y] = place(mark.item), fill = mark.number === null ? "var(--speck)" : colour(mark.number);
    const style = (node, name) => { node.style[name] = fill; return node; };
    if (mark.kind === "history") {
      halos.push(style(svg("circle", { cx: x, cy: y, r: 16, "fill-opacity": 0.14 }), "fill"));
      dots.push(style(svg("circle", { cx: x, cy: y, r: 4.5 }), "fill"));
      if (mark.number !== null) numbers.set(mark.number, [...(numbers.get(mark.number) ?? []), [x, y]]);
    } else dots.push(style(svg("circle", { cx: x, cy: y, r: 6, fill: "none", "stroke-width": 2 }), "stroke"));
  }
  const badges = [...numbers].flatMap(([number, places]) => {
    const mean = (axis) => places.reduce((sum, one) => sum + one[axis], 0) / places.length;
    const [x, y] = places.reduce((best, one) => (Math.hypot(one[0] - mean(0), one[1] - mean(1)) < Math.hypot(best[0] - mean(0), best[1] - mean(1)) ? one : best));
    const back = svg("circle", { cx: x, cy: y, r: 9, "stroke-width": 1.5 }), text = svg("text", { x, y: y + 4, "text-anchor": "middle", "font-size": 11, "font-weight": 700 });
    back.style.fill = colour(number);
    back.style.stroke = text.style.fill = "var(--card)";
    text.textContent = number;
    return [back, text];
  });
  const ring = svg("circle", { id: "pointed", r: 11, fill: "none", "stroke-width": 3, visibility: "hidden" });
  ring.style.stroke = "var(--text)";
  $("marks").replaceChildren(...halos, ...dots, ...badges, ring);
}

function point(item) {
  const placed = item.x === undefined ? marks.find((mark) => mark.item.item_id === item.item_id)?.item ?? release.map.find((one) => one.item_id === item.item_id) : item;
  const ring = document.getElementById("pointed");
  if (!placed || placed.x === null || !ring) return hideTip();
  const [x, y] = place(placed), tip = $("tip");
  ring.setAttribute("cx", x);
  ring.setAttribute("cy", y);
  ring.setAttribute("visibility", "visible");
  tip.textContent = label(placed);
  tip.hidden = false;
  tip.style.left = `${Math.max(4, Math.min(x + 12, $("map").clientWidth - tip.offsetWidth - 4))}px`;
  tip.style.top = `${Math.max(4, Math.min(y + 12, $("map").clientHeight - tip.offsetHeight - 4))}px`;
}

function hideTip() {
  $("tip").hidden = true;
  document.getElementById("pointed")?.setAttribute("visibility", "hidden");
}

function nearest(event) {
  const box = $("map").getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
  let best = null, least = 14;
  const look = (item, reach) => {
    if (item.x === null) return;
    const [left, top] = place(item), distance = Math.hypot(left - x, top - y) + reach;
    if (distance < least) [best, least] = [item, distance];
  };
  for (const mark of marks) look(mark.item, 0);
  for (const item of release.map) look(item, 6); // the user's own items come first
  return best;
}

let marked = -1;
$("map").addEventListener("mousemove", (event) => { const item = nearest(event); item ? point(item) : hideTip(); });
$("map").addEventListener("mouseleave", hideTip);
$("map").addEventListener("blur", hideTip);
$("map").addEventListener("click", (event) => { const item = nearest(event); if (item) openItem(item); });
$("map").addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (step && marks.length) {
    event.preventDefault();
    marked = (marked + step + marks.length) % marks.length;
    const { item, number, kind } = marks[marked], interest = known.get(number)?.name;
    point(item);
    say(`${label(item)}, ${kind}${interest ? `, ${interest}` : ""}`);
  } else if (event.key === "Enter" && marks[marked]) openItem(marks[marked].item);
});
$("as-rows").addEventListener("click", () => {
  const rows = $("rows").hidden;
  $("rows").hidden = !rows;
  $("as-list").hidden = rows;
  $("as-rows").setAttribute("aria-pressed", String(rows));
});

$("zoom").addEventListener("click", () => {
  $("zoom").setAttribute("aria-pressed", String($("zoom").getAttribute("aria-pressed") !== "true"));
  setView();
  drawMap();
});
new ResizeObserver(() => { if (answer) drawMap(); }).observe($("map"));
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (answer) drawMap(); });

// Controls

function userId(text) {
  if (release.text_user_ids) return text;
  if (!/^-?\d+$/.test(text)) throw new Error(`user ${text}: the ids of this release are integers; draw a user to see one`);
  return Number(text);
}

$("user-form").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(async () => showUser(userId($("user").value.trim())));
});
$("user").addEventListener("focus", (event) => event.target.select());
$("draw").addEventListener("click", () => attempt(drawUser));
$("clear").addEventListener("click", () => {
  answer = null;
  asked++; // what is on its way is not shown
  wish = newWish({ history: [] });
  $("shown").hidden = $("changed").hidden = $("item").hidden = true;
  $("status").textContent = "An empty history: search for an item to begin it.";
  $("user").value = "";
  showAddress("");
  $("search").focus();
});
$("calibration").addEventListener("input", () => { $("calibrated").textContent = `${$("calibration").value} %`; });
$("calibration").addEventListener("change", () => change(() => { wish.calibration = $("calibration").value / 100; }, `Calibration at ${$("calibration").value} %`));
$("reset").addEventListener("click", () => change(() => { wish = { ...newWish(wish.who), added: wish.added }; }, "As the release has it"));
$("topic-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const topic = $("topic").value.trim();
  const [set, other, verb] = event.submitter?.value === "boost" ? [wish.boostedTopics, wish.mutedTopics, "boosted"] : [wish.mutedTopics, wish.boostedTopics, "muted"];
  attempt(async () => {
    if (!release.topics.includes(topic) && release.topics.length < 1000) throw new Error(`“${topic}” is not a topic of this release; choose one of the list`);
    $("topic").value = "";
    await change(() => { set.add(topic); other.delete(topic); }, `${topic} ${verb}`);
  });
});
$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("multitudes-key", $("key").value.trim());
  $("key-form").hidden = true;
  $("key").value = "";
  attempt(start);
});

let found = [], chosen = -1, typing = 0;

function showFound(items) {
  found = items;
  chosen = items.length ? 0 : -1;
  $("found").replaceChildren(...items.map((item, row) => el("li", { id: `found-${row}`, role: "option", onmousedown: (event) => { event.preventDefault(); choose(row); } }, label(item))));
  $("found").hidden = !items.length;
  $("search").setAttribute("aria-expanded", String(items.length > 0));
  markChosen();
}

function markChosen() {
  [...$("found").children].forEach((row, number) => row.setAttribute("aria-selected", String(number === chosen)));
  if (chosen >= 0) $("search").setAttribute("aria-activedescendant", `found-${chosen}`);
  else $("search").removeAttribute("aria-activedescendant");
  $("found").children[chosen]?.scrollIntoView({ block: "nearest" });
}

function choose(row) {
  const item = found[row];
  $("search").value = "";
  showFound([]);
  if (item) addItem(item);
}

$("search").addEventListener("input", () => {
  clearTimeout(typing);
  const text = $("search").value.trim();
  typing = setTimeout(() => attempt(async () => {
    if (!text) return showFound([]);
    const { items } = await ask(`/v1/explore/items?text=${encodeURIComponent(text)}`);
    if (text !== $("search").value.trim()) return;
    showFound(items);
    $("status").textContent = items.length ? `${items.length} items found` : `no title contains “${text}”, and no item has this id`;
  }), 150);
});
$("search").addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step && found.length) {
    event.preventDefault();
    chosen = (chosen + step + found.length) % found.length;
    markChosen();
  } else if (event.key === "Enter") {
    event.preventDefault();
    choose(chosen);
  } else if (event.key === "Escape") showFound([]);
});
$("search").addEventListener("blur", () => showFound([]));

$("others").addEventListener("change", () => {
  beside = $("others").value;
  if (answer) attempt(refresh);
});

// The beginning

function describeRelease() {
  $("release").textContent = `release ${release.release}, ${release.method}: ${release.items.toLocaleString("en")} items, ${release.users.toLocaleString("en")} users`;
  $("topics").replaceChildren(...release.topics.map((topic) => el("option", { value: topic })));
}

// The key in the URL of `multitudes explore` is kept until the tab is closed, and not in the address.
function takeKey() {
  const given = new URLSearchParams(location.hash.slice(1));
  if (!given.has("key")) return;
  sessionStorage.setItem("multitudes-key", given.get("key"));
  $("key-form").hidden = true;
  const user = given.get("user");
  showAddress(user === null ? "" : `#user=${encodeURIComponent(user)}`);
}

// The address shows whom the page shows, so that it can be opened again.
function showAddress(fragment) {
  history.replaceState(null, "", `${location.pathname}${fragment}`);
}

async function start() {
  takeKey();
  release = await ask("/v1/explore/map");
  const releases = await ask("/v1/explore/releases");
  describeRelease();
  $("others-label").hidden = !releases.others.length;
  $("others").replaceChildren(el("option", { value: "" }, "none"), ...releases.others.map((name) => el("option", { value: name }, name)));
  $("others").value = beside = releases.beside ?? "";
  const given = /^#user=(.+)$/.exec(location.hash);
  if (given) await showUser(JSON.parse(decodeURIComponent(given[1])));
  else if (release.users) await drawUser();
  else $("status").textContent = "This release has no users: search for an item to begin a history.";
}

function startStatic() {
  document.body.classList.add("is-static");
  $("tables").hidden = true;
  release = embedded.map;
  describeRelease();
  $("sample").replaceChildren(...embedded.answers.map((one, row) => el("option", { value: row }, String(one.user_id))));
  beside = embedded.beside?.release ?? "";
  const showSample = (row) => {
    $("item").hidden = true;
    if (beside) other = embedded.beside.answers[row] ?? `Release ${beside} does not have this user.`;
    show(embedded.answers[row]);
  };
  $("sample").addEventListener("change", () => showSample($("sample").value));
  if (embedded.answers.length) showSample(0);
}

$("who").hidden = false; // without this script, no control would do anything
if (embedded) startStatic();
else {
  addEventListener("hashchange", () => attempt(start)); // another URL in the same tab
  attempt(start);
}
