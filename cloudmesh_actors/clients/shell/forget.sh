# Removes a script's folder. Arguments: root, name.
cd -- "${1:-$HOME/.cloudmesh_actors/launches}" 2>/dev/null || exit 0
rm -rf -- "$2"
