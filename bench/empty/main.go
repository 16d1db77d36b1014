// Command empty does nothing: the start of any Go program costs as much.
package main

func main() {}
