package service

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"syscall"
)

// The priorities that the journal reads at the beginning of a line (sd-daemon(3)).
const (
	priorityError   = "<3>"
	priorityWarning = "<4>"
	priorityInfo    = "<6>"
	priorityDebug   = "<7>"
)

// isJournal reports that systemd's journal reads stderr. stream is JOURNAL_STREAM, which names the
// file that systemd has opened (systemd.exec(5)): standard error may have been redirected since.
func isJournal(stderr io.Writer, stream string) bool {
	file, ok := stderr.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && stream == fmt.Sprintf("%d:%d", stat.Dev, stat.Ino)
}

// at writes lines of one priority.
func (w *logWriter) at(priority string) io.Writer {
	if !w.journal {
		return w
	}
	return priorityWriter{w, priority}
}

// priorityWriter puts a priority before each line.
type priorityWriter struct {
	to       io.Writer
	priority string
}

func (w priorityWriter) Write(text []byte) (int, error) {
	var b strings.Builder
	for line := range strings.Lines(string(text)) {
		b.WriteString(w.priority + line)
	}
	if _, err := io.WriteString(w.to, b.String()); err != nil {
		return 0, err
	}
	return len(text), nil
}

// journalHandler writes each record with the priority of its level.
type journalHandler struct{ debug, info, warning, error slog.Handler }

// newJournalHandler makes the handler for each level with make.
func newJournalHandler(w *logWriter, make func(io.Writer) slog.Handler) journalHandler {
	at := func(priority string) slog.Handler { return make(w.at(priority)) }
	return journalHandler{at(priorityDebug), at(priorityInfo), at(priorityWarning), at(priorityError)}
}

func (h journalHandler) of(level slog.Level) slog.Handler {
	switch {
	case level < slog.LevelInfo:
		return h.debug
	case level < slog.LevelWarn:
		return h.info
	case level < slog.LevelError:
		return h.warning
	}
	return h.error
}

func (h journalHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.of(level).Enabled(ctx, level)
}

func (h journalHandler) Handle(ctx context.Context, record slog.Record) error {
	return h.of(record.Level).Handle(ctx, record)
}

func (h journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.each(func(next slog.Handler) slog.Handler { return next.WithAttrs(attrs) })
}

func (h journalHandler) WithGroup(name string) slog.Handler {
	return h.each(func(next slog.Handler) slog.Handler { return next.WithGroup(name) })
}

func (h journalHandler) each(f func(slog.Handler) slog.Handler) slog.Handler {
	return journalHandler{f(h.debug), f(h.info), f(h.warning), f(h.error)}
}
