#!/bin/sh
# Saves a checkpoint and ends the job well as soon as a loss is not a number, or infinite:
#
#     reidctl hook add JOB --scalars '*loss*' --exec deploy/hooks/exec/stop_on_nan.sh
while read -r line; do
    case $line in
    *:NaN* | *:Infinity* | *:-Infinity*)
        iter=${line#*\"iter\":}
        echo "stop a loss was not finite in iteration ${iter%%,*}" ;;
    *) echo continue ;;
    esac
done
