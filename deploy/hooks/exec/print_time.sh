#!/bin/sh
# Prints the time of each iteration, in ms, to standard error:
#
#     reidctl hook add JOB --async --scalars time --exec deploy/hooks/exec/print_time.sh
#
# A hook reads one line of JSON for each event and answers with one line.
clock() { date +%s%N; } # nanoseconds (GNU date)

read -r attached || exit 0
before=$(clock)
while read -r event; do
    now=$(clock)
    iter=${event#*\"iter\":}
    echo "iteration ${iter%%,*}: $(((now - before) / 1000000)) ms" >&2
    before=$now
    echo continue
done
