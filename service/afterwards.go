package service

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"
)

const (
	// maxTasks bounds what waits to be written down: a record of a use may be lost.
	maxTasks = 1024
	// maxNoted bounds what a process remembers to have noted today.
	maxNoted = 10_000
	// tasksGrace is how long the end of a process waits for tasks.
	tasksGrace = 2 * time.Second
)

// afterwards does what no answer waits for, one task after the other. A process that stays does so
// in the background, a CGI program before it ends.
type afterwards struct {
	background bool
	report     func(error) // of a task that panics; nil = none

	mu    sync.Mutex
	tasks []func()
	idle  chan struct{}       // closed when the goroutine that does the tasks ends; nil = there is none
	day   int                 // since 1970, of noted
	noted map[string]struct{} // IDs
}

// add returns at once. When too much waits, the task is dropped.
func (a *afterwards) add(task func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.tasks) >= maxTasks {
		return
	}
	a.tasks = append(a.tasks, task)
	if a.background && a.idle == nil {
		a.idle = make(chan struct{})
		go a.run()
	}
}

// addOfDay adds a task that is done once a day for an ID, as far as this process knows.
func (a *afterwards) addOfDay(id string, task func() error) {
	if a.isNoted(id) {
		return
	}
	a.add(func() {
		if !a.isNoted(id) && task() == nil {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.noted[id] = struct{}{}
		}
	})
}

func (a *afterwards) isNoted(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if today := int(time.Now().Unix() / (24 * 60 * 60)); today != a.day || len(a.noted) >= maxNoted {
		a.day, a.noted = today, map[string]struct{}{}
	}
	_, noted := a.noted[id]
	return noted
}

// run does the tasks until there are no more.
func (a *afterwards) run() {
	for {
		a.mu.Lock()
		if len(a.tasks) == 0 {
			if a.tasks = nil; a.idle != nil {
				close(a.idle)
				a.idle = nil
			}
			a.mu.Unlock()
			return
		}
		task := a.tasks[0]
		a.tasks = a.tasks[1:]
		a.mu.Unlock()
		a.do(task)
	}
}

// do keeps a task that panics from ending the process, and all requests with it. What it panics
// with may quote a secret: its type and place are reported.
func (a *afterwards) do(task func()) {
	defer func() {
		if p := recover(); p != nil && a.report != nil {
			a.report(fmt.Errorf("panic of type %T in %s", p, panicLocation()))
		}
	}()
	task()
}

// isEmpty reports that nothing is to be done.
func (a *afterwards) isEmpty() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.tasks) == 0
}

// finish does what is left, or waits for it, within a time.
func (a *afterwards) finish() {
	a.mu.Lock()
	idle := a.idle
	if idle == nil && len(a.tasks) > 0 {
		idle = make(chan struct{})
		a.idle = idle
		go a.run()
	}
	a.mu.Unlock()
	if idle == nil {
		return
	}
	select {
	case <-idle:
	case <-time.After(tasksGrace):
	}
}

// panicLocation is where the program panicked, for a function that recovers.
func panicLocation() string {
	pc := make([]uintptr, 64)
	frames := runtime.CallersFrames(pc[:runtime.Callers(3, pc)])
	for {
		f, more := frames.Next()
		if !strings.HasPrefix(f.Function, "runtime.") || !more {
			return fmt.Sprintf("%s:%d", f.File, f.Line)
		}
	}
}
