package page

func (p *Page) addSources() {}
