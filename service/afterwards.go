package service

import (
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

	mu      sync.Mutex
	tasks   []func()
	running sync.WaitGroup // not zero = a goroutine does the tasks
	active  bool
	day     int                 // since 1970, of noted
	noted   map[string]struct{} // IDs
}

// add returns at once. When too much waits, the task is dropped.
func (a *afterwards) add(task func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.tasks) >= maxTasks {
		return
	}
	a.tasks = append(a.tasks, task)
	if a.background && !a.active {
		a.active = true
		a.running.Go(a.run)
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
			a.tasks, a.active = nil, false
			a.mu.Unlock()
			return
		}
		task := a.tasks[0]
		a.tasks = a.tasks[1:]
		a.mu.Unlock()
		task()
	}
}

// isEmpty reports that nothing is to be done.
func (a *afterwards) isEmpty() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.tasks) == 0
}

// finish does what is left, or waits for it, within a time.
func (a *afterwards) finish() {
	done := make(chan struct{})
	go func() {
		if !a.background {
			a.run()
		}
		a.running.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(tasksGrace):
	}
}
