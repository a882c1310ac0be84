"""From a request to candidates: user context, user vectors, search, blend, response. No torch, no HTTP."""
