#!/bin/sh
# Saves a checkpoint and ends the job well as soon as a file is there, whose first line is the reason:
#
#     reidctl hook add JOB --every 10 --exec deploy/hooks/exec/stop_on_file.sh -- /srv/stop-now
file=${1:?usage: stop_on_file.sh FILE}
while read -r line; do
    if [ -e "$file" ]; then
        reason=$(head -n 1 "$file" 2>/dev/null)
        echo "stop ${reason:-$file is there}"
    else
        echo continue
    fi
done
