# Times a command as a shell runs it, in microseconds, a line for each run:
#
#     bash shell.bash RUNS SETTING COMMAND
#
# SETTING is run once, before. $EPOCHREALTIME costs a shell no process, so a builtin with a
# redirection can be timed too.
export LC_ALL=C # a locale may write 1,5 for 1.5
eval "$2" || exit
eval "run() { $3; }"
for ((i = -20; i < $1; i++)); do
    from=$EPOCHREALTIME
    run || exit # the time of a failure is no figure
    to=$EPOCHREALTIME
    ((i < 0)) || printf '%d\n' $((${to/./} - ${from/./}))
done
