package bench

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
)

// The measures of the plot, in its own units.
const (
	panelsInARow            = 3
	panelWidth, panelHeight = 280, 190
	plotWidth, plotHeight   = 215, 105 // inside of a panel
	plotLeft, plotTop       = 50, 45
	plotMargin              = 20
)

const plotStyle = `  <style>
    text { fill: #57606a; font-size: 11px; }
    .name { fill: #24292f; font-size: 13px; font-weight: 600; }
    .axis, .linear { fill: none; stroke: #8b949e; stroke-width: 1; }
    .linear { stroke-dasharray: 3 4; }
    .line { fill: none; stroke: #0969da; stroke-width: 2; }
    .dot { fill: #0969da; }
    .spread { stroke: #0969da; stroke-width: 1; }
    .middle { text-anchor: middle; }
    .end { text-anchor: end; }
    @media (prefers-color-scheme: dark) {
      text { fill: #9aa4ae; }
      .name { fill: #e6edf3; }
      .line, .spread { stroke: #58a6ff; }
      .dot { fill: #58a6ff; }
    }
  </style>
`

// plot draws one panel for each curve, with logarithmic axes. What is linear has the slope of the
// dashed line.
func plot(curves []curve) string {
	rows := (len(curves) + panelsInARow - 1) / panelsInARow
	width, height := panelsInARow*panelWidth+plotMargin, rows*panelHeight+plotMargin
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%[1]d" height="%[2]d"`+
		"\n     role=\"img\" font-family=\"system-ui, sans-serif\">\n", width, height)
	b.WriteString("  <title>The cost of a request as its surroundings grow</title>\n" +
		"  <desc>The axes are logarithmic. A dashed line is what grows in proportion. ")
	for n, c := range curves {
		if n > 0 {
			b.WriteString(" ")
		}
		first, last := c.Points[0], c.Points[len(c.Points)-1]
		fmt.Fprintf(&b, "%s: from %s %s at %d to %s at %d.", escape(c.Name), number(first.Y.Median), c.Unit, first.X,
			number(last.Y.Median), last.X)
	}
	b.WriteString("</desc>\n" + plotStyle)
	for n, c := range curves {
		fmt.Fprintf(&b, "  <g transform=\"translate(%d %d)\">\n", n%panelsInARow*panelWidth, n/panelsInARow*panelHeight)
		c.draw(&b)
		b.WriteString("  </g>\n")
	}
	return b.String() + "</svg>\n"
}

func (c curve) draw(w io.Writer) {
	first, last := c.Points[0], c.Points[len(c.Points)-1]
	lowest, highest := first.Y.Low, 0.0
	for _, p := range c.Points {
		lowest, highest = min(lowest, p.Y.Low), max(highest, p.Y.High)
	}
	low := math.Floor(math.Log10(lowest))
	high := max(math.Ceil(math.Log10(highest)), low+1)
	bottom := float64(plotTop + plotHeight)
	x := func(size float64) float64 {
		from, to := math.Log(float64(first.X)), math.Log(float64(last.X))
		return plotLeft + plotWidth*(math.Log(size)-from)/(to-from)
	}
	y := func(value float64) float64 { return bottom - plotHeight*(math.Log10(value)-low)/(high-low) }
	fmt.Fprintf(w, "    <text class=\"name\" x=\"%d\" y=\"%d\">%s</text>\n", plotLeft, plotTop-22, escape(c.Name))
	fmt.Fprintf(w, "    <path class=\"axis\" d=\"M%d %d V%.0f H%d\"/>\n", plotLeft, plotTop, bottom, plotLeft+plotWidth)
	for power := low; power <= high; power++ {
		value := math.Pow(10, power)
		fmt.Fprintf(w, "    <text class=\"end\" x=\"%d\" y=\"%.0f\">%s</text>\n", plotLeft-5, y(value)+4, number(value))
	}
	linear := math.Min(float64(last.X), float64(first.X)*math.Pow(10, high)/first.Y.Median)
	fmt.Fprintf(w, "    <path class=\"linear\" d=\"M%d %.1f L%.1f %.1f\"/>\n", plotLeft, y(first.Y.Median), x(linear),
		y(first.Y.Median*linear/float64(first.X)))
	fmt.Fprintf(w, "    <text x=\"%d\" y=\"%d\">%s</text>\n", plotLeft, plotTop-8, escape(c.Unit))
	var line []string
	for _, p := range c.Points {
		at := x(float64(p.X))
		line = append(line, fmt.Sprintf("%.1f,%.1f", at, y(p.Y.Median)))
		fmt.Fprintf(w, "    <path class=\"spread\" d=\"M%.1f %.1f V%.1f\"/>\n", at, y(p.Y.Low), y(p.Y.High))
		fmt.Fprintf(w, "    <circle class=\"dot\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"/>\n", at, y(p.Y.Median))
		fmt.Fprintf(w, "    <text class=\"middle\" x=\"%.1f\" y=\"%.0f\">%s</text>\n", at, bottom+15,
			number(float64(p.X)))
	}
	fmt.Fprintf(w, "    <polyline class=\"line\" points=\"%s\"/>\n", strings.Join(line, " "))
	fmt.Fprintf(w, "    <text class=\"middle\" x=\"%d\" y=\"%.0f\">%s</text>\n", plotLeft+plotWidth/2, bottom+31,
		escape(c.X))
}

func escape(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text))
	return b.String()
}

func TestThePlotIsXMLAndHasAPanelForEachCurve(t *testing.T) {
	one := curve{Name: "rules & <more>", X: "rules", Unit: "µs", Points: []point{
		{X: 1, Y: summary{2, 1, 3}}, {X: 10, Y: summary{4, 4, 4}}}}
	text := plot([]curve{one, one, one, one})
	panels, decoder := 0, xml.NewDecoder(strings.NewReader(text))
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		if e, is := token.(xml.StartElement); is && e.Name.Local == "polyline" {
			panels++
		}
	}
	if panels != 4 {
		t.Errorf("%d panels, want 4", panels)
	}
}
