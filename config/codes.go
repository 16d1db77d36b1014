package config

import "dockerauth/jwtsign"

// Code is the kind of a fault. Programs depend on it, so it stays when the words change. A fault of
// a key file has jwtsign's code.
type Code = jwtsign.Code

// The faults of config.yml.
const (
	CodeNotSetUp   Code = "not-set-up"
	CodeMissing    Code = "config-missing"
	CodeUnreadable Code = "config-unreadable"
	CodeNotAFile   Code = "config-not-a-file" // a folder, a pipe, or far too large
	CodeWritable   Code = "config-world-writable"
	CodeSyntax     Code = "config-syntax"
	CodeEncoding   Code = "config-encoding"
	CodeUnknownKey Code = "config-unknown-key"
	CodeMissingKey Code = "config-missing-key"
	CodeTwice      Code = "config-key-twice"
	CodeType       Code = "config-wrong-type"
	CodeValue      Code = "config-wrong-value"
	CodeRule       Code = "config-wrong-rule"
	CodePastedKey  Code = "config-pasted-key" // or certificate
)
