"""Recording to 16 kHz mono PCM and speech spans, in processes of its own."""
