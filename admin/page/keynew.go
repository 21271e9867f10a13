package page

func (p *Page) addKeyMaking() {}
