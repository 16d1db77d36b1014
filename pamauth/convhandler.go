//go:build linux && cgo

package pamauth

import (
	"errors"

	"github.com/msteinert/pam/v2"
)

// maxMessages bounds what a stack may say in one conversation. Real stacks say a few lines.
const maxMessages = 32

// convHandler answers a conversation: the password once, at the first prompt without echo.
type convHandler struct {
	Password   Password
	messages   int
	sent       bool // the password
	unanswered bool // a prompt
}

var errNoAnswer = errors.New("no answer")

// RespondPAM implements pam.ConversationHandler. It ignores the texts, which come in any language.
func (h *convHandler) RespondPAM(style pam.Style, _ string) (string, error) {
	if h.messages++; h.messages > maxMessages {
		return "", errNoAnswer
	}
	switch style {
	case pam.TextInfo, pam.ErrorMsg:
		return "", nil
	case pam.PromptEchoOff:
		if h.Password != "" && !h.sent {
			h.sent = true
			return h.Password.Reveal(), nil
		}
	}
	h.unanswered = true
	return "", errNoAnswer
}
