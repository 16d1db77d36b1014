package gateway

import (
	"context"
	"sync"
	"time"
)

// requestContext is the context of a request, as context.WithTimeout would make it. Most requests
// end before anything waits for it, so it has a timer and a channel only once Done is called.
type requestContext struct {
	parent   context.Context
	deadline time.Time

	mu     sync.Mutex
	ended  bool
	inner  context.Context // nil = Done has not been called
	cancel context.CancelFunc
}

func newRequestContext(parent context.Context) *requestContext {
	return &requestContext{parent: parent, deadline: time.Now().Add(requestTimeout)}
}

// end cancels c.
func (c *requestContext) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if c.inner != nil {
		c.cancel()
	}
}

func (c *requestContext) Deadline() (time.Time, bool) { return c.deadline, true }

func (c *requestContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.started().Done()
}

// started returns inner. c.mu is held.
func (c *requestContext) started() context.Context {
	if c.inner == nil {
		c.inner, c.cancel = context.WithDeadline(c.parent, c.deadline)
		if c.ended {
			c.cancel()
		}
	}
	return c.inner
}

// isOver reports that c has ended. c.mu is held.
func (c *requestContext) isOver() bool {
	return c.ended || c.parent.Err() != nil || !time.Now().Before(c.deadline)
}

// Err starts inner only when c has ended: then all that ask hear of the same cause.
func (c *requestContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inner == nil && !c.isOver() {
		return nil
	}
	return c.started().Err()
}

// Value lets contexts that are made from c find inner: they call Done before.
func (c *requestContext) Value(key any) any {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inner == nil && !c.isOver() {
		return c.parent.Value(key)
	}
	return c.started().Value(key)
}
