package command

// examinePAM looks at the PAM service.
func (c *checkup) examinePAM() {}
