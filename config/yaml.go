package config

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"dockerauth/jwtsign"
)

// node is a value in the subset of YAML that a configuration uses: texts, numbers, lists and
// sections.
type node struct {
	line   int
	kind   kind
	text   string  // of a text or a number, as written
	items  []node  // of a list
	fields []field // of a section, in the order of the file
}

type field struct {
	key   string
	line  int
	value node
}

type kind int

const (
	kindText kind = iota
	kindNumber
	kindBool
	kindNull
	kindList
	kindSection
)

// String names the kind in an error.
func (k kind) String() string {
	return [...]string{"a text", "a number", "true or false", "nothing", "a list", "a section"}[k]
}

const formHint = "see dockerauth-config(5) for the form: man dockerauth-config"

// maxNesting is two more than any key needs. The time of the parser grows with the square of the
// depth.
const maxNesting = 4

// readYAML reads one document with a section at its top. Errors contain the message of the parser,
// but not its excerpt of the file, which could show a pasted key.
func readYAML(file string, data []byte) (node, Errors) {
	tokens := lexer.Tokenize(string(data))
	if e := checkTokens(tokens); e != nil {
		return node{}, Errors{e.in(file, data)}
	}
	// Reading the section reports duplicates, with the line of the first.
	f, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return node{}, Errors{parserError(err).in(file, data)}
	}
	if len(f.Docs) == 0 || f.Docs[0].Body == nil {
		hint := formHint
		if path := absolute(file); InitCommand(path) != "" {
			hint = aside(path) + setUpCommand(path)
		}
		return node{}, Errors{{Code: CodeMissingKey, File: file, Cause: "is empty", Hint: hint}}
	}
	if len(f.Docs) > 1 {
		return node{}, Errors{{Code: CodeSyntax, File: file, Cause: "holds several documents", Hint: "keep one"}}
	}
	root, e := convert(f.Docs[0].Body)
	if e != nil {
		return node{}, Errors{e.in(file, data)}
	}
	if root.kind != kindSection {
		e := &yamlError{line: root.line, cause: "is " + root.kind.String() + ", not a list of keys and values",
			hint: "write one KEY: VALUE a line"}
		return node{}, Errors{e.in(file, data)}
	}
	return root, nil
}

// plainText removes a byte order mark, normalises line ends and refuses what is not UTF-8. YAML
// does not allow tabs as indentation (1.2.2 §6.1) and no value needs one, so a tab may only precede
// a comment or the end of the line.
func plainText(file, dir string, data []byte) ([]byte, Errors) {
	path := jwtsign.ShellWord(filepath.Join(dir, filepath.Base(file)))
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if bytes.ContainsRune(data, '\r') {
		data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
		data = bytes.ReplaceAll(data, []byte("\r"), []byte("\n"))
	}
	if utf8.Valid(data) && !bytes.Contains(data, []byte("\t")) {
		return data, nil
	}
	number := 0
	var out []byte
	for line := range bytes.Lines(data) {
		number++
		if !utf8.Valid(line) {
			return nil, Errors{{Code: CodeEncoding, File: file, Line: number, Cause: "is not UTF-8",
				Hint: fmt.Sprintf("iconv -f %s -t UTF-8 %s >%[2]s.new && cat %[2]s.new >%[2]s && rm %[2]s.new",
					encodingOf(data), path)}}
		}
		before, after, tab := bytes.Cut(line, []byte("\t"))
		if after = bytes.TrimSpace(after); tab && len(after) > 0 && after[0] != '#' &&
			!bytes.HasPrefix(bytes.TrimSpace(before), []byte("#")) {
			return nil, Errors{{Code: CodeSyntax, File: file, Line: number, Cause: "has a tab",
				Hint: `sed -i 's/\t/  /g' ` + path}}
		}
		out = append(out, bytes.ReplaceAll(line, []byte("\t"), []byte(" "))...)
	}
	return out, nil
}

// encodingOf guesses the encoding of a text that is not UTF-8.
func encodingOf(data []byte) string {
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		return "UTF-16"
	}
	return "ISO-8859-1"
}

// yamlError is an error of the YAML text rather than of a key.
type yamlError struct {
	line  int
	cause string
	hint  string
}

// in adds the file to the error. If the file contains a pasted key, that is reported instead: it is
// the cause, and its first line is the better place.
func (e *yamlError) in(file string, data []byte) Error {
	number := 0
	for line := range bytes.Lines(data) {
		number++
		if bytes.Contains(line, []byte("-----BEGIN")) && !bytes.HasPrefix(bytes.TrimSpace(line), []byte("#")) {
			return Error{
				Code:  CodePastedKey,
				File:  file,
				Line:  number,
				Cause: "holds a key or certificate",
				Hint:  pathHint,
			}
		}
	}
	return Error{Code: CodeSyntax, File: file, Line: min(max(e.line, 1), max(number, 1)), Cause: e.cause, Hint: e.hint}
}

// checkTokens refuses unneeded parts of YAML before a tree is built: anchors and aliases (a few
// lines can expand to gigabytes), merge keys, tags, directives, further documents and deep nesting.
func checkTokens(tokens token.Tokens) *yamlError {
	depth, dashes := 0, 0
	begun, ended := false, false
	for _, t := range tokens {
		if t.Type == token.CommentType {
			continue
		}
		refuse := func(cause, hint string) *yamlError {
			return &yamlError{line: t.Position.Line, cause: cause, hint: hint}
		}
		if ended || begun && t.Type == token.DocumentHeaderType {
			return refuse("a second document begins", "keep one, and delete the line ---")
		}
		begun = true
		switch t.Type {
		case token.InvalidType:
			return refuse(words(t.Error), hintFor(t.Error))
		case token.AnchorType, token.AliasType, token.MergeKeyType:
			return refuse("anchors, aliases and merge keys are not read here",
				"write the value out; a text that begins with & or * goes in quotes")
		case token.TagType:
			return refuse("tags are not read here", "a text that begins with ! goes in quotes")
		case token.DirectiveType:
			return refuse("directives are not read here", "a text that begins with % goes in quotes")
		case token.MappingKeyType:
			return refuse("keys are plain words here", "a text that begins with ? goes in quotes")
		case token.DocumentEndType:
			ended = true
		case token.SequenceStartType, token.MappingStartType:
			depth++
		case token.SequenceEndType, token.MappingEndType:
			depth--
		}
		if t.Type == token.SequenceEntryType {
			dashes++
		} else {
			dashes = 0
		}
		if depth > maxNesting || dashes > maxNesting {
			return refuse("is nested too deeply", "no key takes a list in a list")
		}
	}
	return nil
}

// ReadYAML reads the YAML of another program within the bounds of config.yml. It returns nil for an
// empty file and allows repeated keys. The error is an Errors.
func ReadYAML(path string) (ast.Node, error) {
	data, err := read(path)
	if err != nil {
		return nil, err
	}
	file, err := parser.Parse(lexer.Tokenize(string(data)), 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, Errors{parserError(err).in(path, data)}
	}
	if len(file.Docs) == 0 {
		return nil, nil
	}
	return file.Docs[0].Body, nil
}

func parserError(err error) *yamlError {
	at, ok := err.(interface {
		GetToken() *token.Token
		GetMessage() string
	})
	if !ok {
		return &yamlError{cause: "cannot be read as YAML"}
	}
	e := &yamlError{cause: words(at.GetMessage()), hint: hintFor(at.GetMessage())}
	if t := at.GetToken(); t != nil && t.Position != nil {
		e.line = t.Position.Line
	}
	return e
}

func words(message string) string { return "cannot be read as YAML: " + message }

// hintFor returns the remedy for common mistakes.
func hintFor(message string) string {
	switch {
	case strings.Contains(message, "mapping value is not allowed"):
		return "a text with a colon and a space in it goes in quotes; keys of one section begin in the same column"
	case strings.Contains(message, "end character of"):
		return "a quote is not closed"
	case strings.Contains(message, "reserved character"):
		return "put the text in quotes"
	case strings.Contains(message, "escape character"):
		return "in single quotes a backslash is a backslash"
	case strings.Contains(message, "']' not found"), strings.Contains(message, "'}'"):
		return "a bracket is not closed"
	}
	return formHint
}

// convert turns the tree of the parser into nodes. Its depth is bounded by checkTokens, and for
// indented lines by the length of the file.
func convert(n ast.Node) (node, *yamlError) {
	out := node{line: n.GetToken().Position.Line}
	switch v := n.(type) {
	case *ast.StringNode:
		out.text = v.Value
	case *ast.LiteralNode:
		out.text = v.Value.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		out.kind, out.text = kindNumber, n.GetToken().Value
	case *ast.BoolNode:
		out.kind = kindBool
	case *ast.NullNode:
		out.kind = kindNull
	case *ast.SequenceNode:
		return convertList(out, v)
	case *ast.MappingNode:
		return convertSection(out, v.Values)
	case *ast.MappingValueNode:
		return convertSection(out, []*ast.MappingValueNode{v})
	default:
		return out,
			&yamlError{line: out.line, cause: "cannot be read here: " + strings.ToLower(n.Type().String()),
				hint: formHint}
	}
	return out, nil
}

func convertList(out node, list *ast.SequenceNode) (node, *yamlError) {
	out.kind = kindList
	for _, v := range list.Values {
		item, err := convert(v)
		if err != nil {
			return out, err
		}
		out.items = append(out.items, item)
	}
	return out, nil
}

func convertSection(out node, values []*ast.MappingValueNode) (node, *yamlError) {
	out.kind = kindSection
	for _, v := range values {
		value, err := convert(v.Value)
		if err != nil {
			return out, err
		}
		key := v.Key.GetToken()
		out.fields = append(out.fields, field{key: key.Value, line: key.Position.Line, value: value})
	}
	return out, nil
}
