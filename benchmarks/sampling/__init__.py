"""How fast is sampling beside transformers' generate?"""
