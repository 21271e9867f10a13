package page

func (p *Page) addLocks() {}
