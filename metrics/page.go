package metrics

import (
	"strconv"
	"strings"
	"time"
)

// ContentType is the media type of a Page.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// Page is the text of one scrape. One call writes one metric, because the format needs all its
// lines together.
type Page struct {
	text []byte
}

// Bytes returns the text.
func (p *Page) Bytes() []byte { return p.text }

// Counter writes a number that only grows until the process restarts. Its name ends in _total.
func (p *Page) Counter(name, help string, value uint64) {
	p.head(name, help, "counter")
	p.line(name, "", strconv.FormatUint(value, 10))
}

// Gauge writes a number that goes up and down. labels are alternating names and values.
func (p *Page) Gauge(name, help string, value float64, labels ...string) {
	p.head(name, help, "gauge")
	p.line(name, pairs(labels), float(value))
}

// Counts writes a counter for each word, with the word as the value of a label.
func (p *Page) Counts(name, help, label string, c *Counts) {
	p.head(name, help, "counter")
	for i, word := range c.words {
		p.line(name, pairs([]string{label, word}), strconv.FormatUint(c.n[i].Load(), 10))
	}
}

// Histogram writes durations in seconds; the name ends in _seconds. The total count is that of the
// last bucket, so that both agree while counting goes on.
func (p *Page) Histogram(name, help string, h *Histogram) {
	p.head(name, help, "histogram")
	sum, total := h.sum.Load(), uint64(0)
	for i := range h.n {
		le := "+Inf"
		if i < len(h.bounds) {
			le = float(h.bounds[i].Seconds())
		}
		total += h.n[i].Load()
		p.line(name+"_bucket", pairs([]string{"le", le}), strconv.FormatUint(total, 10))
	}
	p.line(name+"_sum", "", float(time.Duration(sum).Seconds()))
	p.line(name+"_count", "", strconv.FormatUint(total, 10))
}

func (p *Page) head(name, help, kind string) {
	p.text = append(p.text, "# HELP "+name+" "+strings.NewReplacer(`\`, `\\`, "\n",
		`\n`).Replace(help)+"\n# TYPE "+name+" "+kind+"\n"...)
}

func (p *Page) line(name, labels, value string) {
	p.text = append(p.text, name+labels+" "+value+"\n"...)
}

// pairs formats labels.
func pairs(labels []string) string {
	if len(labels) == 0 {
		return ""
	}
	quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
	var b strings.Builder
	for i := 0; i+1 < len(labels); i += 2 {
		b.WriteByte("{,"[min(i, 1)])
		b.WriteString(labels[i] + `="` + quote.Replace(strings.ToValidUTF8(labels[i+1], "\uFFFD")) + `"`)
	}
	b.WriteByte('}')
	return b.String()
}

func float(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
