"""The names that canonical columns have elsewhere, and the map from such a name to ours.

The names are those of MovieLens, RecBole, Amazon's and Foursquare's data, and of shops' and media's own logs, also in
Korean, Japanese and Chinese.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches

from multitudes.data.schemas import COLUMN_ROLES, REQUIRED_COLUMNS
from multitudes.errors import DataError, UsageError

_TOPICS = (
    "topics topic genres genre categories category categoryname venuecategory venuecategoryname tags tag class"
    " productcategory commoditydesc maincategory categorycode subjects subject keywords labels label department"
    " departmentname section cuisine 카테고리 분류 장르 상품분류 태그 カテゴリ カテゴリー ジャンル 类别 分类 类目 类型"
    " productgroupname producttypename producttype itemcategory venuecategoryid categoryid cat"
)
# Table -> canonical column -> other names without case and signs, the most telling first.
_NAMES: Mapping[str, Mapping[str, str]] = {
    "events": {
        "user_id": "userid user uid customerid customer custid memberid member visitorid visitor clientid accountid"
        " account buyerid shopperid reviewerid reviewer personid profileid householdid householdkey listenerid"
        " readerid playerid subscriberid username useruuid subjectid sessionid 회원번호 회원id 회원 고객번호 고객id"
        " 고객 사용자id 사용자번호 사용자 ユーザーid 会員番号 会員id 顧客番号 顧客id 用户id 用户编号 用户",
        "item_id": "itemid item iid movieid movie filmid productid product sku asin parentasin articleid article bookid"
        " isbn songid song trackid track artistid artist venueid venue placeid poiid businessid gameid game videoid"
        " newsid contentid documentid docid listingid offerid goodsid showid animeid recipeid restaurantid hotelid"
        " courseid jobid adid stockcode upc ean gtin objectid entityid 상품코드 상품번호 상품id 제품코드 제품번호 상품"
        " 商品コード 商品番号 商品id 商品编号 商品编码 商品",
        "timestamp": "timestamp unixreviewtime ts time datetime eventtime eventtimestamp utctimestamp unixtime"
        " createdat createdtime created occurredat orderedat purchasedat watchedat playedat listenedat viewedat"
        " clickedat ratedat checkinat checkintime transactiontime purchasetime ordertime date eventdate"
        " invoicedate orderdate purchasedate transactiondate tdat reviewdate reviewtime epoch dt when 구매일시 주문일시"
        " 일시 구매일 주문일 구매일자 주문일자 날짜 시간 日時 購入日時 注文日時 購入日 注文日 时间 日期",
        "action": "action event eventtype eventname actiontype behavior behaviour behaviortype interaction"
        " interactiontype feedbacktype activity type 행동 이벤트 동작 行動 イベント 行为 事件",
        "rating": "rating ratings stars star score overall userrating reviewrating ratingvalue 평점 별점 評価 评分",
        "source_interest": "sourceinterest",
        "valid": "valid",
        "event_id": "eventid eventuuid",
        "request_id": "requestid",
    },
    "items": {
        "item_id": "id",
        "topics": _TOPICS,
        "title": "title name movietitle itemname itemtitle productname producttitle prodname booktitle trackname"
        " songname songtitle venuename displayname headline description subcommoditydesc producttype 상품명 제품명 제목"
        " 이름 商品名 タイトル 商品名称 标题 名称",
        "embedding": "embedding embeddings vector itemembedding emb",
    },
    "users": {
        "user_id": "id",
        "followed_topics": f"followedtopics follows followed following likes interests subscriptions {_TOPICS}",
    },
}


def normalise(name: str) -> str:
    """Return a column's name without case, signs and RecBole's type: ``user_id:token`` is ``userid``."""
    return re.sub(r"[\W_]+", "", name.partition(":")[0]).lower()


def reject_same_names(columns: Sequence[str], file: str) -> None:
    """Reject columns of one name: the engine, which does not tell upper from lower case, would rename the second.

    Raises:
        DataError: two columns of the file have one name.
    """
    places = dict[str, int]()
    for place, column in enumerate(columns, start=1):
        if column and (first := places.setdefault(column.lower(), place)) < place:
            twice = f"columns {first} and {place} are both called '{columns[first - 1]}'"
            raise DataError(f"{file}: {twice}; rename one of them in the first line")


def guess_by_name(table: str, columns: Iterable[str]) -> dict[str, str]:
    """Return the column of a file for each canonical column of events, items or users, where a name says so."""
    columns = list(columns)
    by_name = {normalise(column): column for column in reversed(columns)}
    found: dict[str, str] = {}
    for canonical in COLUMN_ROLES[table]:
        # The name itself wins over any other. An id has its names in every table.
        shared = _NAMES["events"][canonical] if canonical in {"user_id", "item_id"} else ""
        names = [normalise(canonical), *shared.split(), *_NAMES[table][canonical].split()]
        column = canonical if canonical in columns else next((by_name[name] for name in names if name in by_name), None)
        if column is not None and column not in found.values():
            found[canonical] = column
    return found


def suggest_map(table: str, columns: Collection[str]) -> str:
    """Return the options ``--map`` that name the canonical columns of a table, where a name is known."""
    guessed = guess_by_name(table, columns) if table in _NAMES else {}
    return " ".join(f"--map {column}={canonical}" for canonical, column in guessed.items() if column != canonical)


class ColumnMap:
    """Which column of a file stands for which canonical one, as ``--map`` says."""

    def __init__(self, columns: Mapping[str, str] | None = None) -> None:
        """Take a map of columns of files → canonical columns, or "" for a column that is not used.

        Raises:
            UsageError: a target is no canonical column.
        """
        self.columns = dict(columns or {})
        self._used: set[str] = set()
        self._seen: dict[str, None] = {}
        known = {column for table in _NAMES for column in COLUMN_ROLES[table]}
        for column, canonical in self.columns.items():
            if canonical and canonical not in known:
                if column in known:
                    raise UsageError(f"--map {column}={canonical}: the other way round: --map {canonical}={column}")
                near = get_close_matches(canonical, known, 1)
                hint = f"did you mean '{near[0]}'? " if near else ""
                raise UsageError(
                    f"--map {column}={canonical}: '{canonical}' is no column of the tables; {hint}expected one of"
                    f" {', '.join(sorted(known))}, or nothing for a column that is not used"
                )

    def __bool__(self) -> bool:
        """Return whether it maps anything."""
        return bool(self.columns)

    def renames(self, table: str, columns: Iterable[str]) -> dict[str, str]:
        """Return the part of the map that concerns a table: column of the file → canonical column, or "".

        Raises:
            DataError: the table has a column of that name already, or two columns for it.
        """
        columns = list(columns)
        self._seen.update(dict.fromkeys(columns))
        found: dict[str, str] = {}
        for column, canonical in self.columns.items():
            if column not in columns or (canonical and canonical not in COLUMN_ROLES.get(table, {})):
                continue
            is_replaced = any(self.columns.get(other) == column for other in columns)
            if not canonical and column in REQUIRED_COLUMNS.get(table, ()) and not is_replaced:
                continue  # one table has another column for it, and this one does not
            self._used.add(column)
            if canonical and canonical in found.values():
                raise DataError(f"--map {column}={canonical}: another column is mapped to '{canonical}' too; give one")
            if canonical in columns and canonical != column and canonical not in self.columns:
                raise DataError(
                    f"--map {column}={canonical}: the {table} table has a column '{canonical}' already; leave that one"
                    f" out with --map {canonical}="
                )
            found[column] = canonical
        return found

    def unused_columns(self) -> list[str]:
        """Return a sentence for each column of the map that no table had; ``renames`` has seen them all."""
        sentences = []
        for column, canonical in ((column, to) for column, to in self.columns.items() if column not in self._used):
            near = get_close_matches(column, self._seen, 1)
            hint = f"did you mean '{near[0]}'? The" if near else "the"
            why = f"no table for it has a column '{column}'; {hint} columns are {', '.join(self._seen)}"
            if column in self._seen:
                why = (
                    f"no table with that column takes '{canonical}'"
                    if canonical
                    else "a table needs it; map another to it"
                )
            sentences.append(f"--map {column}={canonical}: {why}")
        return sentences


def parse_map(options: Iterable[str] | None) -> ColumnMap:
    """Read the options ``--map``, each ``COLUMN=OURS`` or several of them with commas between.

    Raises:
        UsageError: one is not written so, or its target is no canonical column.
    """
    columns = {}
    for pair in (pair for option in options or () for pair in option.split(",")):
        column, equals, canonical = pair.rpartition("=")
        if not column.strip() or not equals:
            raise UsageError(f"--map {pair}: expected COLUMN=OURS, such as --map userId=user_id")
        columns[column.strip()] = canonical.strip()
    return ColumnMap(columns)
