package page

func (p *Page) addSessions() {}
