# What several of the programs here know. `folder` is the script's.

# When a process was started, in the kernel's own unit: ids are used again, both together are not.
born() {
    set -- $(cat "/proc/$1/stat" 2>/dev/null)
    [ $# -lt 22 ] || { shift 21; echo "$1"; }
}

# Whether the process lives that a file names by its id and start; leaves the id in `process`.
alive() {
    [ -r "$1" ] || return 1
    read -r process start <"$1"
    kill -s 0 -- "$process" 2>/dev/null && [ "$(born "$process")" = "$start" ]
}

# Writes a file so that a reader finds all of it or none.
tell() {
    echo "$2" >"$folder/$1.new" && mv "$folder/$1.new" "$folder/$1"
}

