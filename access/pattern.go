package access

import (
	"errors"
	"fmt"
	"strings"
)

// The bounds of one pattern.
const (
	maxPatternLen = 256 // bytes; a repository name has at most 255 (distribution, reference/regexp.go)
	maxSegments   = 32  // between slashes, in a pattern
)

// pattern matches whole repository names, segment by segment. ** is any number of segments, also
// none. * is one segment, or any run of characters within one. {user} and {group} are the account's
// name and one of its groups, taken literally.
type pattern struct {
	text     string
	segments []segment
	groups   bool // it contains {group}
}

// segment is the part between two slashes: a sequence of pieces.
type segment struct {
	literal    string  // the whole segment, when it is nothing else
	pieces     []piece // nil for a literal
	doubleStar bool    // **
	star       bool    // *
}

type piece struct {
	kind pieceKind
	text string // of a literal
}

type pieceKind uint8

const (
	pieceLiteral pieceKind = iota
	pieceStar
	pieceUser
	pieceGroup
)

func (p pattern) String() string { return p.text }

// parsePattern parses a pattern. The error names the fault.
func parsePattern(text string) (pattern, error) {
	if err := checkPattern(text); err != nil {
		return pattern{}, err
	}
	p := pattern{text: text, segments: make([]segment, 0, 1+strings.Count(text, "/"))}
	for part := range strings.SplitSeq(text, "/") {
		s, _ := parseSegment(part)
		p.segments = append(p.segments, s)
		for _, piece := range s.pieces {
			p.groups = p.groups || piece.kind == pieceGroup
		}
	}
	return p, nil
}

// checkPattern is parsePattern without the result.
func checkPattern(text string) error {
	if text == "" || len(text) > maxPatternLen {
		return fmt.Errorf("pattern %q is empty or longer than %d bytes", truncated(text), maxPatternLen)
	}
	if strings.Count(text, "/") >= maxSegments {
		return fmt.Errorf("pattern %q has more than %d segments", truncated(text), maxSegments)
	}
	for part := range strings.SplitSeq(text, "/") {
		if _, err := parseSegment(part); err != nil {
			return fmt.Errorf("pattern %q: %w", text, err)
		}
	}
	return nil
}

// mayMatch is a cheap test, false for most names that a pattern does not match. It compares only
// the text before the first glob.
func mayMatch(pattern, name string) bool {
	end := strings.IndexAny(pattern, "*{")
	if end < 0 {
		return pattern == name
	}
	literal := strings.TrimSuffix(pattern[:end], "/") // ** may match no segment
	return strings.HasPrefix(name, literal)
}

func parseSegment(text string) (segment, error) {
	switch {
	case text == "":
		return segment{}, errors.New("a segment is empty")
	case text == "**":
		return segment{doubleStar: true}, nil
	case isLiteral(text):
		return segment{literal: text}, nil
	case text == "*":
		return segment{star: true}, nil
	case strings.Contains(text, "**"):
		return segment{}, fmt.Errorf("** stands alone between slashes, not as in %q", text)
	case !strings.ContainsAny(text, "*{}"):
		return segment{}, fmt.Errorf("%q holds a character that no repository name holds", text)
	}
	pieces, err := parsePieces(text)
	return segment{pieces: pieces}, err
}

func isLiteral(text string) bool {
	for i := range len(text) {
		if notInName(rune(text[i])) {
			return false
		}
	}
	return true
}

func parsePieces(text string) ([]piece, error) {
	var pieces []piece
	for text != "" {
		switch {
		case strings.HasPrefix(text, "*"):
			pieces, text = append(pieces, piece{kind: pieceStar}), text[1:]
		case strings.HasPrefix(text, "{user}"):
			pieces, text = append(pieces, piece{kind: pieceUser}), text[len("{user}"):]
		case strings.HasPrefix(text, "{group}"):
			pieces, text = append(pieces, piece{kind: pieceGroup}), text[len("{group}"):]
		default:
			end := strings.IndexAny(text, "*{")
			if end < 0 {
				end = len(text)
			}
			if end == 0 || !isLiteral(text[:end]) {
				return nil, fmt.Errorf("%q is neither {user} nor {group} nor part of a repository name", text)
			}
			pieces, text = append(pieces, piece{text: text[:end]}), text[end:]
		}
	}
	return pieces, nil
}

// match compares a name, split at its slashes, with the pattern. user and group replace {user} and
// {group}; an empty one matches nothing.
//
// It backtracks only to the last **. An earlier ** need not match more, because the last one
// matches everything that this would leave. So the time is bounded by the product of the two
// lengths.
func (p *pattern) match(name []string, user, group string) bool {
	at, backPattern, backName := 0, -1, 0
	i := 0
	for i < len(name) {
		switch {
		case at < len(p.segments) && p.segments[at].doubleStar:
			backPattern, backName = at, i
			at++
		case at < len(p.segments) && p.segments[at].matches(name[i], user, group):
			at++
			i++
		case backPattern >= 0:
			backName++
			at, i = backPattern+1, backName
		default:
			return false
		}
	}
	for at < len(p.segments) && p.segments[at].doubleStar {
		at++
	}
	return at == len(p.segments)
}

func (s *segment) matches(text, user, group string) bool {
	if s.pieces == nil {
		return s.star || s.literal == text
	}
	return s.matchPieces(text, user, group)
}

// matchPieces matches one segment in the same way as pattern.match matches a name.
func (s *segment) matchPieces(text, user, group string) bool {
	at, backPiece, backText := 0, -1, 0
	i := 0
	for {
		if at == len(s.pieces) && i == len(text) {
			return true
		}
		if at < len(s.pieces) && s.pieces[at].kind == pieceStar {
			backPiece, backText = at, i
			at++
			continue
		}
		if at < len(s.pieces) {
			if want := s.pieces[at].value(user, group); want != "" && strings.HasPrefix(text[i:], want) {
				at++
				i += len(want)
				continue
			}
		}
		if backPiece < 0 || backText == len(text) {
			return false
		}
		backText++
		at, i = backPiece+1, backText
	}
}

func (p piece) value(user, group string) string {
	switch p.kind {
	case pieceUser:
		return user
	case pieceGroup:
		return group
	default:
		return p.text
	}
}

// truncated keeps an error short.
func truncated(text string) string {
	if len(text) > 64 {
		return text[:64] + "…"
	}
	return text
}
