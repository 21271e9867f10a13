package page

func (p *Page) addPolicy() {}
