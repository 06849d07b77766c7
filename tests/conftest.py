from hypothesis import settings

# A busy machine is slow, which is no fault of what is tested.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")
