# Prints a line, "PHASE COMMAND STATUS DRAINED", then output. Arguments: root, name, offset, most bytes.
cd -- "${1:-$HOME/.cloudmesh_actors/launches}/$2" 2>/dev/null || { echo absent 0 - no; exit 0; }
drained=no phase=starting command=0 code=-
[ ! -e drained ] || drained=yes
[ ! -e keeper ] || { phase=running; alive keeper || phase=lost; }
[ ! -r command ] || read -r command <command
[ ! -r status ] || read -r phase ended code <status
echo "$phase ${ended:-${command:-0}} ${code:--} $drained"
[ ! -r output ] || tail -c "+$(($3 + 1))" output | head -c "$4"
