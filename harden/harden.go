// Package harden keeps what a process knows from other processes: it makes the process
// non-dumpable, wipes its environment, and closes descriptors that it was left with. It also makes
// a process of root's one of an ordinary account.
package harden
