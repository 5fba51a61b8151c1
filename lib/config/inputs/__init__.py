"""Settings of models that see anything else than single images, or draw masks"""
