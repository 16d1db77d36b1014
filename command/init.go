package command

import "fmt"

// Init is the command "init".
func Init(args []string, streams Streams) int {
	fmt.Fprintln(streams.Err, "dockerauth init: not written yet")
	return exitError
}
