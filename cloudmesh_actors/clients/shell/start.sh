# Makes a script's folder and starts the script. Its file, if it is one, is the input.
# Arguments: root, name, keeper.sh, the keeper's arguments (script.sh is the fifth), the script's words.
umask 077
root=${1:-$HOME/.cloudmesh_actors/launches} name=$2 keeper=$3
shift 3
mkdir -p -- "$root" && cd -- "$root" || exit 73
mkdir -- "$name" 2>/dev/null || { [ -d "$name" ] && exit 17; exit 73; }
cd -- "$name" && cat >script && chmod 700 script || exit 73
limit=$1 grace=$2 head=$3 tail=$4 script=$5
shift 5
if [ -s script ]; then
    count=$1
    shift
    set -- "$((count + 1))" "$PWD/script" "$@"
fi
setsid sh -c "$keeper" keeper "$limit" "$grace" "$head" "$tail" "$script" "$@" >/dev/null 2>&1 </dev/null &
