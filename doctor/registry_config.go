package doctor

import (
	"errors"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"dockerauth/config"
)

// registryConfig is what a registry's own configuration says about tokens. The reader is lenient:
// it skips keys that it does not know.
type registryConfig struct {
	Path  string
	Auth  []string       // the kinds under auth, in the order of the file; a registry wants exactly one
	Token *registryToken // nil = there is no auth.token
}

// registryToken is the section auth.token.
type registryToken struct {
	Line              int
	Realm             registrySetting
	Service           registrySetting
	Issuer            registrySetting
	RootCertBundle    registrySetting
	JWKS              registrySetting // 3.x
	AutoRedirect      registrySetting
	AutoRedirectPath  registrySetting   // 3.x
	SigningAlgorithms []registrySetting // 3.x
	Misspelt          []registrySetting // keys in other letters than the registry's, which it does not read
}

// registrySetting is one value of the file.
type registrySetting struct {
	Key   string
	Value string
	Line  int  // 0 = it is not there
	Text  bool // the registry's YAML reader takes it for a text, and not for a number or a truth value
}

// loadRegistryConfig reads a registry's configuration. The error is a config.Errors.
func loadRegistryConfig(path string) (*registryConfig, error) {
	root, err := config.ReadYAML(path)
	if err != nil {
		return nil, withRegistryHint(err)
	}
	r := &registryConfig{Path: path}
	if root == nil {
		return r, nil
	}
	d := document{}
	ast.Walk(d, root)
	auth := d.find(root, "auth")
	for _, pair := range d.pairs(auth) {
		r.Auth = append(r.Auth, pair.Key.GetToken().Value)
	}
	if section := d.find(auth, "token"); section != nil {
		r.Token = d.token(section)
	}
	return r, nil
}

// withRegistryHint replaces the hints that are about dockerauth's own configuration.
func withRegistryHint(err error) error {
	var errs config.Errors
	if !errors.As(err, &errs) {
		return err
	}
	for i := range errs {
		errs[i].Hint = "name the registry's own configuration, such as /etc/docker/registry/config.yml"
		if errs[i].Line > 0 { // it could be opened
			errs[i].Hint = "see the registry's documentation for the form"
		}
	}
	return errs
}

// document holds the anchors of a file.
type document map[string]ast.Node

// Visit implements ast.Visitor.
func (d document) Visit(n ast.Node) ast.Visitor {
	if anchor, ok := n.(*ast.AnchorNode); ok {
		d[anchor.Name.GetToken().Value] = anchor.Value
	}
	return d
}

// maxAliases bounds a chain of aliases: one may lead to itself.
const maxAliases = 16

// plain follows anchors, aliases and tags to their value.
func (d document) plain(n ast.Node) ast.Node {
	for range maxAliases {
		switch v := n.(type) {
		case *ast.AnchorNode:
			n = v.Value
		case *ast.TagNode:
			n = v.Value
		case *ast.AliasNode:
			n = d[v.Value.GetToken().Value]
		default:
			return n
		}
	}
	return nil
}

// pairs are those of a section, none for anything else.
func (d document) pairs(n ast.Node) []*ast.MappingValueNode {
	switch v := d.plain(n).(type) {
	case *ast.MappingNode:
		return v.Values
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{v}
	}
	return nil
}

// find is the value of a key. The last one counts, and the section's own keys come before merged
// ones.
func (d document) find(section ast.Node, key string) ast.Node {
	budget := maxMerged
	return d.findBelow(section, key, &budget)
}

// maxMerged bounds the sections that find looks into for one key: merged into each other, a few
// lines stand for millions.
const maxMerged = 256

func (d document) findBelow(section ast.Node, key string, budget *int) ast.Node {
	if *budget--; *budget < 0 {
		return nil
	}
	pairs := d.pairs(section)
	for _, pair := range slices.Backward(pairs) {
		if pair.Key.GetToken().Value == key {
			return d.plain(pair.Value)
		}
	}
	for _, pair := range pairs {
		if _, merge := pair.Key.(*ast.MergeKeyNode); !merge {
			continue
		}
		for _, merged := range d.merged(pair.Value) {
			if found := d.findBelow(merged, key, budget); found != nil {
				return found
			}
		}
	}
	return nil
}

// merged are the sections that a merge key names, one or a list of them.
func (d document) merged(n ast.Node) []ast.Node {
	if list, ok := d.plain(n).(*ast.SequenceNode); ok {
		return list.Values
	}
	return []ast.Node{n}
}

func (d document) setting(section ast.Node, key string) registrySetting {
	return settingOf(key, d.find(section, key))
}

func settingOf(key string, n ast.Node) registrySetting {
	s := registrySetting{Key: key}
	switch v := n.(type) {
	case nil, *ast.NullNode:
		return s
	case *ast.StringNode:
		s.Value = v.Value
		s.Text = v.Token.Type == token.SingleQuoteType || v.Token.Type == token.DoubleQuoteType || !oldTruth(v.Value)
	case *ast.LiteralNode:
		s.Value, s.Text = v.Value.Value, true
	default:
		s.Value = n.GetToken().Value
	}
	s.Line = n.GetToken().Position.Line
	return s
}

// oldTruth reports words that YAML 1.1, which registries read, takes for true or false.
func oldTruth(word string) bool {
	switch strings.ToLower(word) {
	case "y", "yes", "on", "n", "no", "off":
		return true
	}
	return false
}

// isTrue reads a truth value as registries do.
func (s registrySetting) isTrue() bool {
	switch strings.ToLower(s.Value) {
	case "true", "y", "yes", "on":
		return !s.Text
	}
	return false
}

func (d document) token(section ast.Node) *registryToken {
	t := &registryToken{Line: section.GetToken().Position.Line}
	known := map[string]*registrySetting{
		"realm": &t.Realm, "service": &t.Service, "issuer": &t.Issuer, "rootcertbundle": &t.RootCertBundle,
		"jwks":         &t.JWKS,
		"autoredirect": &t.AutoRedirect, "autoredirectpath": &t.AutoRedirectPath, "signingalgorithms": {},
	}
	for key, setting := range known {
		*setting = d.setting(section, key)
	}
	if list, ok := d.find(section, "signingalgorithms").(*ast.SequenceNode); ok {
		for _, item := range list.Values {
			t.SigningAlgorithms = append(t.SigningAlgorithms, settingOf("signingalgorithms", d.plain(item)))
		}
	}
	for _, pair := range d.pairs(section) {
		key := pair.Key.GetToken()
		if lower := strings.ReplaceAll(strings.ToLower(key.Value), "_", ""); known[key.Value] == nil &&
			known[lower] != nil {
			t.Misspelt = append(t.Misspelt, registrySetting{Key: key.Value, Value: lower, Line: key.Position.Line})
		}
	}
	return t
}
