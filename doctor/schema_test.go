package doctor

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Scripts depend on the codes, so a new or a lost one has to show in the schema.
func TestTheSchemaHasEveryCode(t *testing.T) {
	text, err := os.ReadFile("../docs/check.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Properties struct {
			Findings struct {
				Items struct {
					Properties map[string]struct{ Enum []string }
				}
			}
		}
	}
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	documented := schema.Properties.Findings.Items.Properties["code"].Enum
	if !slices.IsSorted(documented) {
		t.Error("the codes are not in order")
	}
	used := codesInSource(t)
	for _, code := range used {
		if !slices.Contains(documented, code) {
			t.Errorf("docs/check.schema.json lacks %q", code)
		}
	}
	for _, code := range documented {
		if !slices.Contains(used, code) {
			t.Errorf("docs/check.schema.json has %q, which check never prints", code)
		}
	}
}

// codesInSource are the second arguments of fail and warn.
func codesInSource(t *testing.T) (codes []string) {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) != 5 {
				return true
			}
			method, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || method.Sel.Name != "fail" && method.Sel.Name != "warn" {
				return true
			}
			literal, ok := call.Args[1].(*ast.BasicLit)
			if !ok {
				t.Errorf("%s: a code is not a literal", name)
				return true
			}
			code, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Fatal(err)
			}
			codes = append(codes, code)
			return true
		})
	}
	codes = append(codes, constantsOfCodes(t, "../config/codes.go", "Code")...)
	codes = append(codes, constantsOfCodes(t, "../jwtsign/file.go", "Code")...)
	codes = append(codes, constantsOfCodes(t, "../access/flaw.go", "FlawKind")...)
	codes = append(codes, constantsOfCodes(t, "registry.go", "verdictCode")...)
	slices.Sort(codes)
	return slices.Compact(codes)
}

// constantsOfCodes are the values of the constants of one type.
func constantsOfCodes(t *testing.T, name, wanted string) (codes []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		kind, ok := spec.Type.(*ast.Ident)
		if !ok || kind.Name != wanted {
			return true
		}
		for _, value := range spec.Values {
			code, err := strconv.Unquote(value.(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			codes = append(codes, code)
		}
		return true
	})
	if len(codes) == 0 {
		t.Fatalf("%s has no codes", name)
	}
	return codes
}
