# Has a script end; one that has not begun never will. Arguments: root, name.
cd -- "${1:-$HOME/.cloudmesh_actors/launches}/$2" 2>/dev/null || exit 0
folder=$PWD
: >aborted
if mkdir begun 2>/dev/null; then
    tell status killed
    : >drained
elif [ ! -e status ] && alive group; then
    kill -s TERM -- "-$process" 2>/dev/null
fi
exit 0
