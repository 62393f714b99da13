"""The names of what nodes speak to each other, with their versions (protocols/ says what they are)."""

LINK = "/p2pnode/link/2"
# A stream; adverts are gossiped under the topic of that name, too.
ADVERTS = "/p2pnode/adverts/1"
ADVERTS_TOPIC = ADVERTS.removeprefix("/")
JOBS = "/p2pnode/jobs/1"
LOGS = "/p2pnode/logs/1"
LOG_ORDER = "/p2pnode/log-order/1"
ALL = (LINK, ADVERTS, JOBS, LOGS, LOG_ORDER)
