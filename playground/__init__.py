"""A page that shows what a threshold does to a result page; served where a catalogue is named."""
