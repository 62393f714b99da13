"""The limits of fields of messages, and types that keep to them."""

from __future__ import annotations

from typing import Annotated

from .codec import Meta
from .spec import DEPUTIES_NAMED_MAX, REPLICAS_MAX

# Fields are limited so that no message can carry what its kind has no use for.
PEER_ID_LENGTH_MAX = 64
REASON_LENGTH_MAX = 2_000  # The tail of an engine's error, and no more.
ADVERT_SIZE_BYTES_MAX = 2_048  # Gossip costs every node 5 to 10 ms a message.
NAMES_MAX = 64
# Images and inputs, 9 bytes each with their sizes: a fifth of an advert.
CACHE_KEYS_MAX = 48
# Deputies and former owners of a job: two are chosen, and each take-over may add one.
PEERS_NAMED_MAX = DEPUTIES_NAMED_MAX
# The class of sizes that begins at 256 GiB; up to here one takes one byte.
SIZE_CLASS_MAX = 23
# Members of a job, in all: the requester and its deputies, and those that deputies name when it is gone.
MEMBERS_NAMED_MAX = 16
# Nodes whose users may stop, change and rerun a job.
CONTROLLERS_MAX = 16
# Peers to which jobs are entrusted: operators and others.
TRUSTED_MAX = 2 * CONTROLLERS_MAX
# The body of a charter, an extension or a command: all names, the longest reason, and some extensions. Nodes
# keep those that strangers send, read, for a while.
SIGNED_WILL_SIZE_BYTES_MAX = 16 * 1024
# Commands that are told along with a job: the last of each controller, and a few more.
COMMANDS_TOLD_MAX = 2 * CONTROLLERS_MAX
COPIES_PER_MESSAGE_MAX = 250
# A receipt's body: its longest reason takes 8,000, its inputs 64 times some 60. Each deputy keeps it.
RECEIPT_SIZE_BYTES_MAX = 32 * 1024
# All of them are in the spec, whose hash a receipt names.
RECEIPT_INPUTS_MAX = 64
LINES_PER_MESSAGE_MAX = 100
LINE_LENGTH_MAX = 2_500
# Linux's own limit.
PATH_LENGTH_MAX = 4_096
# One read of a log file; it shares a connection with everything else.
LOGS_PIECE_SIZE_BYTES_MAX = 64 * 1024
# A list is for people, who read its beginning.
JOBS_PER_PAGE_MAX = 50
JOB_NAME_LENGTH_MAX = 128
JOB_REASON_LENGTH_MAX = 200
# A bid that outlives this would hold resources for a requester that has long forgotten it.
BID_VALID_MS_MAX = 60 * 60 * 1000
# The largest signed 64-bit integer, as other languages have it.
INTEGER_MAX = 2**63 - 1
# Rounds, serials, versions, runs and the like: one each second for 68 years.
COUNTER_MAX = 2**31 - 1
# Unix time in the year 9892: the last that calendars of most languages can show in any time zone.
MOMENT_MS_MAX = 250_000_000_000_000

PeerId = Annotated[str, Meta(min_length=1, max_length=PEER_ID_LENGTH_MAX)]
JobId = Annotated[str, Meta(pattern=r"^j-[0-9a-f]{32}\Z")]
ExecutionId = Annotated[str, Meta(pattern=r"^e-[0-9a-f]{32}\Z")]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
# A CIDv1 in base32 of an identity hash of 128 bytes is the longest that a job file may name.
Cid = Annotated[str, Meta(min_length=1, max_length=256)]
Reason = Annotated[str, Meta(max_length=REASON_LENGTH_MAX)]
Natural = Annotated[int, Meta(ge=0, le=INTEGER_MAX)]
Counter = Annotated[int, Meta(ge=0, le=COUNTER_MAX)]
# A Unix time, or a length of time.
Moment = Annotated[int, Meta(ge=0, le=MOMENT_MS_MAX)]
Replica = Annotated[int, Meta(ge=0, lt=REPLICAS_MAX)]
Name = Annotated[str, Meta(max_length=256)]
SomeName = Annotated[str, Meta(min_length=1, max_length=256)]
Peers = Annotated[tuple[PeerId, ...], Meta(max_length=PEERS_NAMED_MAX)]
Version = Annotated[int, Meta(ge=1, le=COUNTER_MAX)]
CacheKey = Annotated[int, Meta(ge=0, lt=2**48)]
# About how many bytes, or bytes each second (`core.placement.arrival`).
SizeClass = Annotated[int, Meta(ge=0, le=SIZE_CLASS_MAX)]
Names = Annotated[tuple[SomeName, ...], Meta(max_length=NAMES_MAX)]
