// Package bench measures dockerauth beside the least programs that do the same work, in the same
// run. "make bench" prints a table and says which goals are met.
package bench
