# Waits for a script, limits its time and its output, and writes down how it ended.
# Arguments: limit and grace in seconds, bytes of the output's head and tail, script.sh, the script's words.
folder=$PWD limit=$1 grace=$2 head=$3 tail=$4 script=$5
shift 5
mkdir begun 2>/dev/null || exit 0
tell keeper "$$ $(born "$$")"
unbuffered=
! command -v stdbuf >/dev/null || unbuffered="stdbuf -o0" # else output shows by the 4 kB
{
    since=$(date +%s)
    timeout -k "$grace" "$limit" sh -c "$script" script "$@"
    code=$? took=$(($(date +%s) - since))
    if [ ! -e status ]; then # ended from outside: nothing that it has started may go on
        tries=0 group=
        [ ! -r group ] || read -r group start <group
        while [ -n "$group" ] && kill -s 0 -- "-$group" 2>/dev/null; do
            [ "$tries" -lt "$((grace * 10))" ] || { kill -s KILL -- "-$group"; break; }
            sleep 0.1
            tries=$((tries + 1))
        done
        how=killed
        [ -e aborted ] || { [ "$code" -ne 124 ] && [ "$took" -lt "$limit" ]; } || how=late
        tell status "$how"
    fi
} 2>&1 </dev/null | {
    $unbuffered head -c "$head" >output
    tail -c "$tail" >tail.new && mv tail.new tail
}
: >drained
