package service

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
)

// printableWriter takes lines of a log from slog's handlers and escapes what they let through that
// a terminal may act on: DEL in both formats; C1 controls, bidirectional controls and all else that
// is not printable in JSON.
type printableWriter struct {
	to     io.Writer
	escape func(line string) string
}

func (w printableWriter) Write(line []byte) (int, error) {
	body, hasEnd := bytes.CutSuffix(line, []byte("\n"))
	if !bytes.ContainsFunc(body, notPrintable) {
		return w.to.Write(line)
	}
	text := w.escape(string(body))
	if hasEnd {
		text += "\n"
	}
	if _, err := io.WriteString(w.to, text); err != nil {
		return 0, err
	}
	return len(line), nil
}

// plainWriter takes what PAM modules print, line by line, and escapes what is not printable.
type plainWriter struct{ to io.Writer }

func (w plainWriter) Write(text []byte) (int, error) {
	var b strings.Builder
	for _, r := range strings.ToValidUTF8(string(text), "\uFFFD") {
		if unicode.IsPrint(r) || r == '\n' || r == '\t' {
			b.WriteRune(r)
			continue
		}
		b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
	}
	if _, err := io.WriteString(w.to, b.String()); err != nil {
		return 0, err
	}
	return len(text), nil
}

func notPrintable(r rune) bool { return (r < ' ' || r > '~') && !unicode.IsPrint(r) }

// escapeJSON relies on such characters standing nowhere but inside strings.
func escapeJSON(line string) string {
	var b strings.Builder
	for _, r := range line {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			fmt.Fprintf(&b, `\u%04x`, unit)
		}
	}
	return b.String()
}

// quoteText quotes each value in which one stands. Such a value has no quotes yet, or it would be
// escaped, so it holds neither a space nor an equals sign.
func quoteText(line string) string {
	for {
		at := strings.IndexFunc(line, notPrintable)
		if at < 0 {
			return line
		}
		begin, end := strings.LastIndexByte(line[:at], '=')+1, len(line)
		if n := strings.IndexByte(line[at:], ' '); n >= 0 {
			end = at + n
		}
		line = line[:begin] + strconv.Quote(line[begin:end]) + line[end:]
	}
}
