//go:build linux && cgo

package pamauth

import (
	"errors"

	"github.com/msteinert/pam/v2"
)

// maxMessages is how much a stack may say in one conversation; a module that says more is out of its mind.
const maxMessages = 32

// answers is the person's side of the conversation: one password, given once, at a prompt that does not show it.
type answers struct {
	Password Password
	messages int
	given    bool // the password, at the first hidden prompt
	asked    bool // something that has no answer here
}

var errNoAnswer = errors.New("no answer")

// RespondPAM implements pam.ConversationHandler. The texts of the modules are not looked at: they come in any language.
func (a *answers) RespondPAM(style pam.Style, _ string) (string, error) {
	if a.messages++; a.messages > maxMessages {
		return "", errNoAnswer
	}
	switch style {
	case pam.TextInfo, pam.ErrorMsg:
		return "", nil
	case pam.PromptEchoOff:
		if a.Password != "" && !a.given {
			a.given = true
			return a.Password.Reveal(), nil
		}
	}
	a.asked = true
	return "", errNoAnswer
}
