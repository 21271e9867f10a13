package page

func (p *Page) addNodes() {}
