"""Plans of `--data`: what a catalog holds, and the settings that give the best in the time"""
