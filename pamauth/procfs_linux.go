package pamauth

import (
	"bytes"
	"os"
	"strconv"
)

// numericNames are the names in a folder that are numbers: process ids, thread ids, descriptors.
func numericNames(folder string) []int {
	f, err := os.Open(folder)
	if err != nil {
		return nil
	}
	defer f.Close()
	names, _ := f.Readdirnames(-1)
	var ids []int
	for _, name := range names {
		if id, err := strconv.Atoi(name); err == nil {
			ids = append(ids, id)
		}
	}
	return ids
}

// childrenOf are the children of a process id or of "self", if the kernel tells
// (CONFIG_PROC_CHILDREN).
func childrenOf(process string) []int {
	var pids []int
	for _, thread := range numericNames("/proc/" + process + "/task") {
		list, _ := os.ReadFile("/proc/" + process + "/task/" + strconv.Itoa(thread) + "/children")
		for _, field := range bytes.Fields(list) {
			if pid, err := strconv.Atoi(string(field)); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// stateOf is the state of a process (proc(5), stat): 'Z' for a zombie, 0 if it cannot be read.
func stateOf(pid int) byte {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	// pid (comm) state …: comm may hold anything, the state follows the last parenthesis.
	i := bytes.LastIndexByte(stat, ')')
	if err != nil || i < 0 || i+2 >= len(stat) {
		return 0
	}
	return stat[i+2]
}

// isRunning is false for a zombie and for a process that cannot be read.
func isRunning(pid int) bool {
	state := stateOf(pid)
	return state != 0 && state != 'Z'
}
