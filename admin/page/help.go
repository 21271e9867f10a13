package page

func (p *Page) addHelp() {}
