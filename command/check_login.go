package command

// examineLogin holds a conversation for somebody who is there to type the password.
func (c *checkup) examineLogin() {}
