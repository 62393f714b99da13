"""The chain of times from a peer's last sign to another owner of its jobs; a test holds its inequalities.

silence:  beat 1.5 s  ->  suspect 4 s  ->  down 6 s  ->  lost 8 s  ->  taken over; the second deputy 3 s later
closed:                                    down 0 s  ->  lost 6 s   ->  the same
by one who hears none of a job's peers: 30 s later
"""

from __future__ import annotations

# Each side sends something this often. Two may get lost in a pause of 3 s, which is no loss of the peer.
BEAT_AFTER_S = 1.5
# Nothing heard for so long: more than two beats.
SUSPECT_AFTER_S = 4.0
# Four beats missed: a stopped process or a pulled cable. A process that dies closes its connection,
# which is noticed at once.
DOWN_AFTER_S = 6.0
# A peer is lost after such a silence: dialling it anew has failed, too.
LOST_AFTER_SILENCE_S = 8.0
# A connection that was closed may be opened anew by a node that is restarted, which takes 5 s; one that is
# not has died.
LOST_AFTER_CLOSE_S = 6.0
# Each deputy waits so much longer than the one before it: a take-over is heard of within that.
STAGGER_S = 3.0
# For a node that hears nobody of a job: short cuts of its own line pass.
CUT_OFF_WAIT_S = 30.0
