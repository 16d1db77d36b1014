// Package harden keeps what a process knows from other processes: it makes the process
// non-dumpable, wipes its environment, and closes descriptors that it was left with.
package harden
