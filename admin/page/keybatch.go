package page

func (p *Page) addBatch() {}
