package page

func (p *Page) addKeyPage() {}
