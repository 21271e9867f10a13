package page

func (p *Page) addKeyChanging() {}
